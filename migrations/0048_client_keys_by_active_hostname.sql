create unique index client_keys_by_active_hostname on client_keys (active_hostname)
