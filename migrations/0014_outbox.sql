create table outbox (
    id          varchar(32)  not null primary key,
    kind        varchar(16)  not null,
    task_id     varchar(32),
    hostname    varchar(253) not null,
    traceparent varchar(55),
    expires_at  bigint,
    due_at      bigint       not null,
    attempts    bigint       not null default 0,
    lease       varchar(32)
)
