alter table tasks drop column command_digest
