insert into waves (task_id, wave, expires_at, command_digest, keyid, envelope, cancel_envelope)
select task_id, 1, expires_at, command_digest, keyid, envelope, cancel_envelope from tasks
