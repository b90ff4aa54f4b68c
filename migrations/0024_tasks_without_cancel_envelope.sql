alter table tasks drop column cancel_envelope
