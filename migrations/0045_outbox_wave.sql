alter table outbox add column wave bigint default 1
