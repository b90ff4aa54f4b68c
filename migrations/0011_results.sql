create table results (
    task_id     varchar(32)  not null,
    hostname    varchar(253) not null,
    exit_code   int          not null,
    finished_at bigint       not null,
    received_at bigint       not null,
    digest      varchar(64)  not null,
    keyid       varchar(80)  not null,
    envelope    mediumtext   not null,
    primary key (task_id, hostname)
)
