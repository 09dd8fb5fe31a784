-- analysis.unit
--
-- Units of analysis with what is fixed at their index, in the words that signals.risk divides them
-- by: grouped by a column, they are that stratum's units. Empty where row_level is none; in
-- de-identified rows keys are numbers, and what is not told is null.
--
-- kind: view
-- grain: One row per site, study and unit (course or administration, as the study counts).
-- key: site_id, study_id, unit_id
-- holds: patients
-- columns:
--   study_id VARCHAR - Study whose rules made the unit.
--   site_id VARCHAR - Hospital.
--   unit_id VARCHAR - Key of the unit, for `dripwatch explain --unit`.
--   patient_key VARCHAR - Keyed hash of the patient's identifier; differs between sites.
--   drug VARCHAR - The study's name of the drug.
--   started_at TIMESTAMP - Start of the first administration, UTC: the index.
--   ended_at TIMESTAMP - End of the last administration, UTC.
--   index_date DATE - Local date of the index.
--   day_in_record BIGINT - Local date of the index less that of the patient's first administration in record, in days.
--   n_infusions BIGINT - Administrations in the unit.
--   ordinal_in_record BIGINT - 1 for the first unit of the drug class in this record, then 2, ...
--   ordinal VARCHAR - first (in this record) or later.
--   naive VARCHAR - Never treated before: yes, no, or unknown where the record cannot tell.
--   age_months BIGINT - Completed months of age at the index; null where birth is unknown.
--   age_band VARCHAR - The study's age band at the index; unknown where birth is.
--   sex VARCHAR - Sex as reported: female, male, other or unknown.
--   setting VARCHAR - Where it was given: inpatient, outpatient, home, emergency, other or unknown.
--   indication_type VARCHAR - The study's group of the indication at the index.
--   premedicated VARCHAR - yes where a listed premedication was given in the 24 h before the start, else no.
--   evidence VARCHAR - Strongest evidence of it: administered, dispensed or ordered.
--   calendar_quarter VARCHAR - Quarter of the index by local date, such as 2025-Q3.
--   is_eligible BOOLEAN - Whether it meets the study's eligibility rules at the index.
--   ineligible_reason VARCHAR - First rule that it does not meet; null where eligible.
--   follow_up_ended_at TIMESTAMP - End of follow-up, UTC.
--   follow_up_end_reason VARCHAR - Why it ends: death, observation_end, data_through or last_contact.

select
    study_id,
    site_id,
    unit_id,
    patient_key,
    drug,
    started_at,
    ended_at,
    index_date,
    day_in_record,
    n_infusions,
    ordinal_in_record,
    case when ordinal_in_record = 1 then 'first' when ordinal_in_record > 1 then 'later' end as ordinal,
    -- De-identified rows, which have no times, do not say it.
    case
        when started_at is not null then
            case is_naive when true then 'yes' when false then 'no' else 'unknown' end
    end as naive,
    age_months,
    age_band,
    sex,
    setting,
    indication_type,
    case premedicated when true then 'yes' when false then 'no' end as premedicated,
    evidence,
    calendar_quarter,
    is_eligible,
    ineligible_reason,
    follow_up_ended_at,
    follow_up_end_reason
from linkage.course
