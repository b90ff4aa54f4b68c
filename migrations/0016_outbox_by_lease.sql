create index outbox_by_lease on outbox (lease)
