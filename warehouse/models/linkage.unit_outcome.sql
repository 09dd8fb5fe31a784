-- linkage.unit_outcome
--
-- What became of each unit of analysis for each published outcome in each window: the row that
-- every count and every risk is summed from. Empty where row_level is none; in de-identified rows keys
-- are numbers, and what is not told is null.
--
-- grain: One row per site, study, unit of analysis, outcome and window.
-- key: site_id, study_id, unit_id, outcome, window_name
-- holds: patients
-- columns:
--   study_id VARCHAR - Study that defines outcome and window.
--   site_id VARCHAR - Hospital.
--   unit_id VARCHAR - Unit of analysis (course or administration).
--   patient_key VARCHAR - Keyed hash of the patient's identifier; differs between sites.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   is_published BOOLEAN - Whether the study publishes the outcome.
--   status VARCHAR - event, no_event, censored, untested, unobserved, undetermined, open, open_event, not_at_risk, superseded_same_day, merged (into an earlier unit's window), ineligible or unplaceable.
--   window_start_at TIMESTAMP - Start of the window, UTC; midnight of a local date where the unit is placed by days.
--   window_end_at TIMESTAMP - End of the uncut window, UTC; midnight of a local date where the unit is placed by days.
--   cut_at TIMESTAMP - End of the part of the window that belongs to the unit, UTC; never null: the window's end where nothing cut it.
--   cut_reason VARCHAR - Why it ends there: death, next_unit or observation_end; null where nothing cut it.
--   is_closed BOOLEAN - Whether all feeds that the outcome reads have passed the window's end.
--   is_at_risk BOOLEAN - Whether any time at risk is left in the window.
--   is_tested BOOLEAN - Whether a usable laboratory result fell in the window; null for other kinds.
--   is_observed BOOLEAN - Whether anybody looked: reading, contact or report. Null for laboratory outcomes.
--   is_determined BOOLEAN - Whether the components suffice to tell; null but for composites.
--   has_baseline BOOLEAN - Whether a baseline value was found; null where no baseline is used.
--   onset_at TIMESTAMP - Onset of the event, UTC; null without an event.
--   onset_hours DOUBLE - Hours from the index to the onset; null where the onset has no time of day.
--   onset_precision VARCHAR - How precisely the onset is known: instant or day.
--   onset_day BIGINT - Local date of the onset less that of the index, in days; null without an onset.
--   last_day BIGINT - The same of the last date of the window's part that belongs to the unit.
--   grade INTEGER - Worst grade in the window (0 to 5); null where it cannot be graded.
--   baseline_grade INTEGER - Grade at baseline.
--   baseline_value DOUBLE - Baseline value in baseline_unit.
--   baseline_unit VARCHAR - Unit of the baseline value as reported.
--   baseline_at TIMESTAMP - When the baseline was taken, UTC.
--   worst_value DOUBLE - Worst value in the window in worst_unit.
--   worst_unit VARCHAR - Unit of the worst value as reported.
--   worst_at TIMESTAMP - When the worst value was taken, UTC.
--   change_from_baseline DOUBLE - Worst minus baseline value, in the analyte's canonical unit.
--   person_days DOUBLE - Time at risk in the window up to the first event, in days.
--   n_candidate_units BIGINT - Number of units whose window could have owned the event.
--   is_worsened BOOLEAN - Whether an event that was there before got worse in the window.
--   is_pre_existing BOOLEAN - Whether the event was there before and did not get worse.
--   n_events BIGINT - Events of the window that count; at most 1 in laboratory and composite outcomes.
--   n_events_uncleaned BIGINT - Events that would count if the outcome had no clean window.
--   at_risk_days DOUBLE - Time at risk up to the cut, events or not, in days.
--   at_risk_days_uncleaned DOUBLE - The same with the time that clean windows take, in days.
--   is_serious BOOLEAN - Whether the event is serious; null without an event.
--   serious_criteria VARCHAR[] - Why: death, life_threatening, hospitalisation, prolonged_stay, disability, important or reported; null without an event.
--   is_treated BOOLEAN - Whether a remedy was begun or raised after the onset; null without an event or where the study names no remedy.
--   has_remedy BOOLEAN - Whether a dose of a remedy was given within the study's treatment gap (72 h) of the onset, begun for the event or not; null without an event or where the study names no remedy.
--   remedy_after_hours DOUBLE - Hours from the onset to the first of these doses; null where there is none, and where the onset or one of them has no time of day.
--   measure VARCHAR - What the worst calcium was graded as: total, corrected or ionised; null elsewhere.
--   baseline_measure VARCHAR - The same of the baseline.
--   flags VARCHAR[] - What is unusual about it: imprecise, duration_unknown, ...
--   run_id VARCHAR - Run that last changed the row.

select unit_outcome.*
from store.linkage.unit_outcome as unit_outcome
semi join store.reference.outcome as published
    on published.study_id = unit_outcome.study_id
    and published.outcome = unit_outcome.outcome
    and published.is_published
