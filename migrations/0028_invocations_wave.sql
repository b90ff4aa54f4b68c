alter table invocations add column wave bigint default 1
