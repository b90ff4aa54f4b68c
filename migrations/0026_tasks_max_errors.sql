alter table tasks add column max_errors varchar(16)
