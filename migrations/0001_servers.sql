create table servers (
    hostname          varchar(253) not null primary key,
    ip                varchar(45),
    `group`           varchar(64),
    created_at        bigint       not null,
    last_heartbeat    bigint,
    cpu_usage         double,
    memory_usage      double,
    agent_version     varchar(64),
    boot_id           varchar(64),
    heartbeat_counter bigint
)
