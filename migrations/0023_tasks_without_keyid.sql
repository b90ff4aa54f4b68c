alter table tasks drop column keyid
