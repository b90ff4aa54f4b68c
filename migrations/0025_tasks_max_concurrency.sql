alter table tasks add column max_concurrency varchar(16)
