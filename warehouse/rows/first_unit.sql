-- Each patient's first unit in record, on local dates: before and after are counted from its index.
--
-- A later unit is no start. Where the first one does not count, the patient is left out.
-- Parameters: study, zone.

CREATE OR REPLACE TEMP TABLE first_unit AS
SELECT
    site_id,
    patient_key,
    drug,
    indication_type,
    index_date,
    utc_to_local(record_started_at, $zone)::DATE AS record_from,
    -- Null where nothing but the feeds ends it.
    utc_to_local(follow_up_ended_at, $zone)::DATE AS followed_until
FROM (
    SELECT *
    FROM linkage.course
    WHERE study_id = $study
    QUALIFY row_number() OVER (PARTITION BY patient_key ORDER BY started_at, unit_id) = 1
)
WHERE is_eligible
