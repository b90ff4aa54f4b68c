create index outbox_by_host on outbox (hostname)
