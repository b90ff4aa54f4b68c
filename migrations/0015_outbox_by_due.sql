create index outbox_by_due on outbox (due_at, id)
