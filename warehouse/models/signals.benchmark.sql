-- signals.benchmark
--
-- Observed against published. A number that was printed is an interval: 7 % stands for 6.5 to 7.5 %.
-- That is rounding alone; the error of the published sample is not in it. Units are all closed,
-- eligible ones at risk, those whose follow-up ended early counted as without event.
--
-- grain: One row per site, study, measure, outcome, window and stratum that the study's published.csv lists.
-- key: site_id, study_id, measure, outcome, window_name, stratum, stratum_value
-- columns:
--   study_id VARCHAR - Study whose published.csv lists the row.
--   site_id VARCHAR - Hospital.
--   measure VARCHAR - What was published: risk.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug, ordinal, ...
--   stratum_value VARCHAR - Value that the units of the row share.
--   published_risk DOUBLE - Risk as printed, a proportion; null where none was printed.
--   published_low DOUBLE - Smallest risk that the printed one stands for; null where nothing was published.
--   published_high DOUBLE - Largest risk that the printed one stands for; null where nothing was published.
--   n_published_events_low BIGINT - Fewest events that fit; null where nothing was published.
--   n_published_events_high BIGINT - Most events that fit; null where nothing was published.
--   n_published_units BIGINT - Units of the published series; null where nothing was published.
--   is_derived BOOLEAN - Whether events, units or the risk were worked out from what is printed.
--   source VARCHAR - Where it was published, and how derived numbers were.
--   n_units BIGINT - Units of this site, denominator all.
--   n_events BIGINT - Of those, units with the event.
--   n_patients BIGINT - Patients with at least one of these units.
--   risk DOUBLE - n_events / n_units, a proportion from 0 to 1; null where there is no unit.
--   ci_low DOUBLE - Lower end of its 95 % interval, as in signals.risk.
--   ci_high DOUBLE - Upper end of its 95 % interval.
--   is_within BOOLEAN - Whether risk lies from published_low to published_high; null where one is missing.
--   is_overlapping BOOLEAN - Whether ci_low to ci_high meets published_low to published_high; null where one is missing.
--   note VARCHAR - Why numbers are missing; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select benchmark.*
from store.signals.benchmark as benchmark
semi join store.reference.outcome as published
    on published.study_id = benchmark.study_id
    and published.outcome = benchmark.outcome
    and published.is_published
order by site_id, study_id, measure, outcome, window_name, stratum, stratum_value
