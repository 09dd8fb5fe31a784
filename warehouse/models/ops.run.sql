-- ops.run
--
-- Runs of the refresh. The run that published this file is in it as it was when the file was about
-- to be put in place, which is the last thing that a run can fail in. Runs that never came to open
-- the site store are here too.
--
-- grain: One row per run.
-- key: run_id
-- columns:
--   run_id VARCHAR - Identifier of the run (UUIDv7: sorts by start).
--   site_id VARCHAR - Hospital.
--   started_at TIMESTAMP - When the run started by the clock of the machine, UTC.
--   finished_at TIMESTAMP - When it ended, UTC, or, of the run that published this file, when that was about to be put in place; null if it was killed.
--   status VARCHAR - done, held (done, and batches are held), failed, or killed (it never came to an end).
--   exit_code INTEGER - Exit code of the command; null if it was killed.
--   software_version VARCHAR - Version of Dripwatch.
--   conductor VARCHAR - prefect_server or in_process.
--   n_batches_applied BIGINT - Batches that the run brought into the store.
--   n_batches_held BIGINT - Batches that it held back.
--   state_hash VARCHAR - Hash of everything that the run published; equal hashes, equal content.
--   message VARCHAR - The run's closing sentence.

select * from store.ops.run where run_id not in (select run_id from closing_run)
union all by name
select * from closing_run
order by run_id
