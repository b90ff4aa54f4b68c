alter table servers add column trouble varchar(255)
