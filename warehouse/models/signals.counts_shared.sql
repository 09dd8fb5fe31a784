-- signals.counts_shared
--
-- Patients with units on both sides of a comparison, as sums of products over them: what the risks of
-- both sides owe to the same patients. Beside `signals.counts`, all that `signals.comparison` needs.
--
-- grain: One row per site, study, published outcome, window, stratum, pair of its values (or value and rest) and denominator that patients are on both sides of.
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value, contrast, other_value, denominator
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug, setting, age_band, sex, ...
--   stratum_value VARCHAR - Value of the first side.
--   contrast VARCHAR - pair: against another value (drugs, and strata crossed with drug or ordinal); rest: against all other values together.
--   other_value VARCHAR - Value of the other side, `rest` for all others.
--   denominator VARCHAR - Which closed, eligible units at risk are counted: all, complete (not censored), observed, tested, tested_with_baseline or determined.
--   n_patients BIGINT - Patients with units on both sides.
--   n_again BIGINT - Of those, patients who also have a value that comes earlier in the alphabet; less their sum, the patients of all values add up to patients counted once. 0 for pairs.
--   sum_ee BIGINT - Sum over these patients of events of the first side times events of the other.
--   sum_en BIGINT - The same of events times units of the other.
--   sum_ne BIGINT - The same of units times events of the other.
--   sum_nn BIGINT - The same of units times units of the other.
--   run_id VARCHAR - Run that last changed the row.

select counted.*
from store.signals.counts_shared as counted
semi join store.reference.outcome as published
    on published.study_id = counted.study_id
    and published.outcome = counted.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value, contrast, other_value, denominator
