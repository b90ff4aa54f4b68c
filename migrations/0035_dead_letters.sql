create table dead_letters (
    id          varchar(32)   not null primary key,
    reason      varchar(64)   not null,
    detail      varchar(1024),
    queue       varchar(255)  not null,
    kind        varchar(16),
    hostname    varchar(253),
    task_id     varchar(32),
    verified    bigint        not null,
    traceparent varchar(55),
    size        bigint        not null,
    kept        bigint        not null,
    times       bigint        not null,
    first_at    bigint        not null,
    last_at     bigint        not null,
    replay_at   bigint,
    body        mediumblob    not null
)
