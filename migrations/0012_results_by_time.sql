create index results_by_time on results (task_id, finished_at, hostname)
