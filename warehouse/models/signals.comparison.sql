-- signals.comparison
--
-- Two risks side by side: first in record against later, drug against drug, a value of a stratum
-- against all its others, the first against the second unit of the same patients, and whether a
-- second unit was given, after an event and after none. Intervals know that a patient has several
-- units and may be on both sides.
--
-- grain: One row per site, study, published outcome, window, contrast (and class within which), stratum, value, other value, adjustment and denominator.
-- key: site_id, study_id, outcome, window_name, contrast, within, stratum, stratum_value, other_value, adjusted_for, denominator
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   contrast VARCHAR - first_v_later, drug_v_drug, value_v_rest, first_v_second (the same patients) or given_again (share given a second unit by now, after an event v after none).
--   within VARCHAR - Drug class whose units are compared; all where it is not confined to one.
--   stratum VARCHAR - What the sides differ by: ordinal, drug, setting, age_band, ...; first_unit where they differ by what followed the first unit.
--   stratum_value VARCHAR - Value of the first side.
--   other_value VARCHAR - Value of the other side; rest for all other values.
--   adjusted_for VARCHAR - Stratum that is held equal (Mantel-Haenszel), where the study crosses it with this one; none for the crude comparison.
--   denominator VARCHAR - Which closed, eligible units at risk are counted: all, complete (not censored), observed, tested, tested_with_baseline or determined.
--   is_headline BOOLEAN - Whether this denominator is the one that the study reports first.
--   n_events BIGINT - Units of the first side with the event; for given_again, first units with an event that were followed by a second unit.
--   n_units BIGINT - Units of the first side; for given_again, first units with an event.
--   n_patients BIGINT - Patients with at least one of them.
--   risk DOUBLE - n_events / n_units, not adjusted; null where there is no unit.
--   person_days DOUBLE - Time at risk of the units of the first side up to the first event, in days; null for first_v_second and given_again.
--   other_n_events BIGINT - n_events of the other side; for given_again, after no event.
--   other_n_units BIGINT - n_units of the other side.
--   other_n_patients BIGINT - n_patients of the other side.
--   other_risk DOUBLE - risk of the other side.
--   other_person_days DOUBLE - person_days of the other side.
--   n_shared_patients BIGINT - Patients with units on both sides.
--   risk_ratio DOUBLE - risk / other_risk, or the ratio that the strata of adjusted_for share (Mantel-Haenszel); null where both sides have no event.
--   risk_ratio_low DOUBLE - Lower end of its 95 % interval.
--   risk_ratio_high DOUBLE - Upper end of its 95 % interval.
--   risk_difference DOUBLE - risk - other_risk; null where adjusted.
--   risk_difference_low DOUBLE - Lower end of its 95 % interval.
--   risk_difference_high DOUBLE - Upper end of its 95 % interval.
--   odds_ratio DOUBLE - Ratio of the odds; for first_v_second that of discordant pairs. Null where adjusted.
--   odds_ratio_low DOUBLE - Lower end of its 95 % interval; exact for first_v_second.
--   odds_ratio_high DOUBLE - Upper end of its 95 % interval; exact for first_v_second.
--   rate_ratio DOUBLE - Events per person-day of the first side over those of the other, without an interval: it shows whether windows of unlike length make the difference. Null where a side has no event, and where adjusted or paired.
--   p_value DOUBLE - Exact two-sided p of McNemar's test for first_v_second; null elsewhere.
--   method VARCHAR - How intervals were made.
--   note VARCHAR - Why a number is missing or to be read with care; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select comparison.*
from store.signals.comparison as comparison
semi join store.reference.outcome as published
    on published.study_id = comparison.study_id
    and published.outcome = comparison.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, contrast, within, stratum, stratum_value, other_value, adjusted_for, denominator
