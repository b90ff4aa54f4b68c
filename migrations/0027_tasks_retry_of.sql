alter table tasks add column retry_of varchar(32)
