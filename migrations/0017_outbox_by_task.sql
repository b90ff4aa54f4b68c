create index outbox_by_task on outbox (task_id, hostname)
