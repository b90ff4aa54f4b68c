create unique index tasks_by_idempotency_key on tasks (idempotency_key)
