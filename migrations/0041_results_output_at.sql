alter table results add column output_at bigint
