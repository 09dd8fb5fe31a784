-- ops.look
--
-- Looks of sequential surveillance, copied from the LookTaken events of the log: facts that are
-- recorded once and never recomputed. Empty until a study plans looks.
--
-- grain: One row per site, study, revision, outcome, window, what is watched and look.
-- key: site_id, study_id, study_hash, outcome, window_name, watched, look_number
-- columns:
--   study_id VARCHAR - Study that planned the look.
--   study_hash VARCHAR - SHA-256 of that study.
--   pair_hash VARCHAR - SHA-256 of what looks at the pair depend on; looks of another hash are another surveillance. Null of looks recorded before there was one: then study_hash says it.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   watched VARCHAR - Drug or drug class whose units are watched; all where every unit is.
--   look_number BIGINT - 1 for the first look at the pair, then 2, ...
--   n_units BIGINT - Units at risk in the look: closed, complete, of patients without an event before them.
--   n_events BIGINT - Patients with an event in the look; only the first of each.
--   expected DOUBLE - Events expected of these units under the reference.
--   statistic DOUBLE - Log-likelihood ratio of the events; 0 where they are no more than expected.
--   boundary DOUBLE - Ratio from which on the look signals.
--   alpha_spent DOUBLE - Exact chance of a signal up to this look without an excess.
--   decision VARCHAR - signal; continue; or end, where the end that was fixed beforehand is reached without a signal.
--   data_through_at TIMESTAMP - Instant up to which the data of the look were complete, UTC.
--   exported_at TIMESTAMP - Newest export among the batches that the look saw, UTC.
--   look_key VARCHAR - Key of the record in the log.
--   run_id VARCHAR - Run that last wrote the row.

select look.*
from store.ops.look as look
anti join (select * from store.reference.outcome where not is_published) as hidden
    on hidden.study_id = look.study_id
    and hidden.outcome = look.outcome
order by site_id, study_id, study_hash, outcome, window_name, watched, look_number
