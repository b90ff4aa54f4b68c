create table waves (
    task_id         varchar(32) not null,
    wave            bigint      not null,
    expires_at      bigint      not null,
    command_digest  varchar(64) not null,
    keyid           varchar(80) not null,
    envelope        mediumtext  not null,
    cancel_envelope mediumtext,
    primary key (task_id, wave)
)
