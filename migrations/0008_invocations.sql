create table invocations (
    task_id            varchar(32)  not null,
    hostname           varchar(253) not null,
    status             varchar(16)  not null,
    reason             varchar(512),
    due_at             bigint,
    proof              mediumblob   not null,
    attempts           bigint       not null default 0,
    queued_at          bigint       not null,
    sent_at            bigint,
    accepted_at        bigint,
    running_at         bigint,
    provisional_status varchar(16),
    provisional_at     bigint,
    finished_at        bigint,
    primary key (task_id, hostname)
)
