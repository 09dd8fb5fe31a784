-- ops.outbox
--
-- Messages that must be announced, written in the transaction that gave rise to them and sent at
-- least once; receivers tell repeats by the key.
--
-- grain: One row per message.
-- key: message_key
-- columns:
--   message_key VARCHAR - Key of the message, the same in every attempt to send it.
--   site_id VARCHAR - Hospital.
--   created_at TIMESTAMP - When it was written, UTC.
--   channel VARCHAR - Where it goes.
--   subject VARCHAR - What it is about, without any value of a patient.
--   body VARCHAR - Its text, without any value of a patient.
--   sent_at TIMESTAMP - When it was first sent, UTC; null while it waits.
--   n_attempts BIGINT - Attempts to send it so far.
--   run_id VARCHAR - Run that wrote it.

select * from store.ops.outbox order by message_key
