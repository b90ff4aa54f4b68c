create index client_keys_by_host on client_keys (hostname, state)
