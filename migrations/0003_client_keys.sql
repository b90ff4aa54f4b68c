create table client_keys (
    keyid          varchar(80)   not null primary key,
    hostname       varchar(253)  not null,
    algorithm      varchar(8)    not null,
    public_key_pem varchar(4096) not null,
    state          varchar(16)   not null,
    created_at     bigint        not null,
    updated_at     bigint        not null,
    retire_at      bigint
)
