create table rollouts (
    task_id         varchar(32)  not null primary key,
    max_concurrency bigint       not null,
    max_errors      bigint       not null,
    expires_in      bigint       not null,
    held            bigint       not null,
    wave            bigint       not null,
    released_to     varchar(253) not null
)
