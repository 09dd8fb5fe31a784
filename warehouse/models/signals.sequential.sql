-- signals.sequential
--
-- Is the evidence over the boundary? Each look of the sequential surveillance (MaxSPRT, Kulldorff 2011,
-- error spent exactly at the looks that were taken): first events of patients against those expected
-- of the units at risk, since surveillance began. Critical values are not unique: threshold is the
-- region, alpha_spent its exact cost. As recorded on the night; later corrections show as increments.
--
-- grain: One row per site, study, revision, outcome, window, what is watched and look.
-- key: site_id, study_id, study_hash, outcome, window_name, watched, look_number
-- columns:
--   study_id VARCHAR - Study that planned the look.
--   study_hash VARCHAR - SHA-256 of that study.
--   pair_hash VARCHAR - SHA-256 of what looks at the pair depend on: a revision that changes it starts anew, and the looks of the one before stay. Null of looks recorded before there was one: then study_hash says it.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   watched VARCHAR - Drug or drug class whose units are watched; all where every unit is.
--   look_number BIGINT - 1 for the first look at the pair, then 2, ...
--   is_signal BOOLEAN - Whether this look signals: n_events is at least threshold.
--   decision VARCHAR - signal; continue; or end, where max_expected is reached without a signal. Nothing is looked at after signal and end.
--   n_units_first BIGINT - Units at risk so far that are a patient's first in the record; closed and complete.
--   n_units_later BIGINT - Other units at risk so far; a patient's units count up to the first with the event.
--   n_events BIGINT - Patients with an event so far; only the first of each.
--   n_events_added BIGINT - Of those, since the look before; negative where corrections took some back.
--   expected DOUBLE - Events expected of these units: units at risk times rate, by ordinal.
--   expected_added DOUBLE - Of those, since the look before; negative where corrections took units back.
--   rate_ratio DOUBLE - n_events / expected; without an interval, for it was looked at more than once.
--   threshold BIGINT - Events from which on this look signals.
--   statistic DOUBLE - Log-likelihood ratio of n_events; 0 where they are no more than expected.
--   boundary DOUBLE - Log-likelihood ratio of threshold.
--   alpha_spent DOUBLE - Exact chance, without an excess, that a look up to this one signals; of an estimated reference, over what its baseline leaves open.
--   alpha_allowed DOUBLE - What may be spent up to this look: as much as a continuous test would have.
--   alpha DOUBLE - What the study allots to the whole surveillance of the pair.
--   max_expected DOUBLE - Expected events at which the surveillance ends, fixed beforehand.
--   min_events BIGINT - Fewest events that can be a signal.
--   reference VARCHAR - fixed: rates of the study; published: counts that the study gives, with their error; baseline: estimated from its baseline period, as the first look saw it.
--   rate_first DOUBLE - Events expected of a first unit at risk.
--   rate_later DOUBLE - Events expected of a later unit at risk.
--   baseline_events_first BIGINT - First events of patients after first units of the baseline, or units with an event of the published counts; null where the reference is fixed.
--   baseline_units_first BIGINT - First units at risk of the baseline, or first units of the published counts; null where the reference is fixed.
--   baseline_events_later BIGINT - First events of patients after later units of the baseline, or units with an event of the published counts; null where the reference is fixed.
--   baseline_units_later BIGINT - Later units at risk of the baseline, or later units of the published counts; null where the reference is fixed.
--   data_through_at TIMESTAMP - Instant up to which the data of the look were complete, UTC.
--   exported_at TIMESTAMP - Newest export among the batches that the look saw, UTC.
--   run_id VARCHAR - Run that last wrote the row.

select look.*
from store.signals.sequential as look
anti join (select * from store.reference.outcome where not is_published) as hidden
    on hidden.study_id = look.study_id
    and hidden.outcome = look.outcome
order by site_id, study_id, study_hash, outcome, window_name, watched, look_number
