create table server_runs (
    hostname  varchar(253) not null primary key,
    boot_id   varchar(64)  not null,
    counter   bigint       not null,
    turns     bigint       not null,
    turned_at bigint       not null,
    forked_at bigint
)
