alter table tasks drop column envelope
