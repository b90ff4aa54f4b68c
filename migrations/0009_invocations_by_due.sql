create index invocations_by_due on invocations (due_at)
