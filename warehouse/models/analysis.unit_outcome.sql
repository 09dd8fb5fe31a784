-- analysis.unit_outcome
--
-- What became of each unit under each published outcome, beside the unit's strata, with a column for
-- each denominator that counts it: `count(*) filter (is_in_complete)` is n_units of signals.risk,
-- `count(*) filter (is_in_complete and is_event)` its n_events. Empty where row_level is none; in
-- de-identified rows keys are numbers, and what is not told is null.
--
-- kind: view
-- grain: One row per site, study, unit, outcome and window.
-- key: site_id, study_id, unit_id, outcome, window_name
-- holds: patients
-- columns:
--   study_id VARCHAR - Study that defines outcome and window.
--   site_id VARCHAR - Hospital.
--   unit_id VARCHAR - Key of the unit, for `dripwatch explain --unit`.
--   patient_key VARCHAR - Keyed hash of the patient's identifier; differs between sites.
--   drug VARCHAR - The study's name of the drug.
--   index_date DATE - Local date of the index.
--   ordinal_in_record BIGINT - 1 for the first unit of the drug class in this record, then 2, ...
--   ordinal VARCHAR - first (in this record) or later.
--   age_band VARCHAR - The study's age band at the index; unknown where birth is.
--   sex VARCHAR - Sex as reported: female, male, other or unknown.
--   setting VARCHAR - Where it was given: inpatient, outpatient, home, emergency, other or unknown.
--   indication_type VARCHAR - The study's group of the indication at the index.
--   premedicated VARCHAR - yes where a listed premedication was given in the 24 h before the start, else no.
--   outcome VARCHAR - The study's name of the outcome.
--   label VARCHAR - The outcome in words.
--   window_name VARCHAR - The study's name of the window.
--   status VARCHAR - What became of it; reference.term says what each status means.
--   is_event BOOLEAN - Whether it had the event and the window is closed.
--   is_in_all BOOLEAN - Whether denominator all counts it: closed, eligible, at risk.
--   is_in_complete BOOLEAN - Whether complete counts it: as all, without the censored. The headline.
--   is_in_observed BOOLEAN - Whether observed counts it; false for laboratory outcomes and composites.
--   is_in_tested BOOLEAN - Whether tested counts it; false for all but laboratory outcomes.
--   is_in_tested_with_baseline BOOLEAN - Whether tested_with_baseline counts it; false for all but laboratory outcomes.
--   is_in_determined BOOLEAN - Whether determined counts it; false for all but composites.
--   onset_at TIMESTAMP - Onset of the event, UTC; null without an event.
--   onset_hours DOUBLE - Hours from the index to the onset; null where the onset has no time of day.
--   onset_day BIGINT - Local date of the onset less that of the index, in days; null without an onset.
--   grade INTEGER - Worst grade in the window (0 to 5); null where it cannot be graded.
--   baseline_value DOUBLE - Baseline value in baseline_unit.
--   baseline_unit VARCHAR - Unit of the baseline value as reported.
--   worst_value DOUBLE - Worst value in the window in worst_unit.
--   worst_unit VARCHAR - Unit of the worst value as reported; sources differ, so look before comparing.
--   worst_at TIMESTAMP - When the worst value was taken, UTC.
--   change_from_baseline DOUBLE - Worst minus baseline value, in the analyte's canonical unit.
--   is_serious BOOLEAN - Whether the event is serious; null without an event.
--   is_treated BOOLEAN - Whether a remedy was begun or raised after the onset; null without an event or where the study names no remedy.
--   has_remedy BOOLEAN - Whether a dose of a remedy was given within the study's treatment gap (72 h) of the onset, begun for the event or not; null without an event or where the study names no remedy.
--   remedy_after_hours DOUBLE - Hours from the onset to the first of these doses; null where there is none, and where the onset or one of them has no time of day.
--   person_days DOUBLE - Time at risk in the window up to the first event, in days.

with judged as (
    select
        *,
        status in ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
            as is_in_all,
        is_in_all and status <> 'censored' as is_in_complete
    from linkage.unit_outcome
)
select
    judged.study_id,
    judged.site_id,
    judged.unit_id,
    judged.patient_key,
    unit.drug,
    unit.index_date,
    unit.ordinal_in_record,
    unit.ordinal,
    unit.age_band,
    unit.sex,
    unit.setting,
    unit.indication_type,
    unit.premedicated,
    judged.outcome,
    outcome.label,
    judged.window_name,
    judged.status,
    judged.status = 'event' as is_event,
    judged.is_in_all,
    judged.is_in_complete,
    judged.is_in_complete and coalesce(judged.is_observed, false) as is_in_observed,
    judged.is_in_complete and coalesce(judged.is_tested, false) as is_in_tested,
    judged.is_in_complete and coalesce(judged.is_tested and judged.has_baseline, false)
        as is_in_tested_with_baseline,
    judged.is_in_complete and coalesce(judged.is_determined, false) as is_in_determined,
    judged.onset_at,
    judged.onset_hours,
    judged.onset_day,
    judged.grade,
    judged.baseline_value,
    judged.baseline_unit,
    judged.worst_value,
    judged.worst_unit,
    judged.worst_at,
    judged.change_from_baseline,
    judged.is_serious,
    judged.is_treated,
    judged.has_remedy,
    judged.remedy_after_hours,
    judged.person_days
from judged
join analysis.unit as unit using (site_id, study_id, unit_id)
left join reference.outcome as outcome using (study_id, outcome)
