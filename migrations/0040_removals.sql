create table removals (
    task_id varchar(32) not null primary key
)
