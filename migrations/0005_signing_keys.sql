create table signing_keys (
    keyid          varchar(80)   not null primary key,
    algorithm      varchar(8)    not null,
    public_key_pem varchar(4096) not null,
    created_at     bigint        not null
)
