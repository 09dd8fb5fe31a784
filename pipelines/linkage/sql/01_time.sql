-- Where an event lies in time (docs/windows.md, section 1).
--
-- Every event gets an interval on two axes: the instant axis (UTC, microseconds) and the day axis
-- (the site's local date at midnight). An event known by its day is the whole local day on both.
-- Month and year precision never link. A result's issue time stands in, flagged, where the time of
-- the specimen is unknown.

CREATE MACRO placed(table_name) AS TABLE
SELECT
    *,
    occurred_at AS i_lo,
    CASE time_precision
        WHEN 'day' THEN local_to_utc(local_day + INTERVAL 1 DAY, zone, 0)
        ELSE occurred_at + INTERVAL 1 MICROSECOND
    END AS i_hi,
    local_day AS d_lo,
    local_day + INTERVAL 1 DAY AS d_hi
FROM (
    SELECT *, date_trunc('day', utc_to_local(occurred_at, zone))::TIMESTAMP AS local_day
    FROM query_table(table_name)
    WHERE occurred_at IS NOT NULL AND time_precision IN ('instant', 'day')
);

-- Does [lo, hi) of an event meet [from_at, until_at) of a window, on the unit's axis? A window that
-- was cut before it starts holds nothing, not even a day on both sides of it.
CREATE MACRO meets(axis, i_lo, i_hi, d_lo, d_hi, from_at, until_at) AS
    from_at < until_at AND CASE axis
        WHEN 'day' THEN d_lo < until_at AND d_hi > from_at
        ELSE i_lo < until_at AND i_hi > from_at
    END;

-- On which side of an infusion an event lies: by the hour where both are known by it, else by the date;
-- on that date the study says. `begins_at` is the start and, for draws, the moment after their grace.
CREATE MACRO side_of(same_day, is_start_day, index_day, begins_at, time_precision, i_lo, d_lo) AS
    CASE
        WHEN NOT is_start_day AND time_precision <> 'day'
            THEN CASE WHEN i_lo < begins_at THEN 'before' ELSE 'after' END
        WHEN d_lo = index_day THEN same_day
        WHEN d_lo < index_day THEN 'before'
        ELSE 'after'
    END;

-- Does a unit's window hold an event that lies on `own_side` of its infusion and, where there is a next
-- unit, on `next_side` of that one's? Whatever is before the next unit is still this one's, up to
-- `kept_until`. What is before the own infusion is in a window as far as that reaches back, placed by
-- days not on the index date. A day before an infusion with an hour ends there.
CREATE MACRO holds(
    axis, own_side, started_at, index_day, next_side, next_at, i_lo, i_hi, d_lo, d_hi, lo, kept_until
) AS
    own_side <> 'exclude'
    AND coalesce(next_side = 'before', true)
    AND (own_side = 'after' OR CASE axis WHEN 'day' THEN d_lo < index_day ELSE i_lo < started_at END)
    AND meets(
        axis,
        i_lo,
        least(i_hi, CASE WHEN own_side = 'before' THEN started_at END, next_at),
        d_lo,
        d_hi,
        lo,
        kept_until
    );

-- The local day of an instant, as midnight.
CREATE MACRO local_day_of(instant, zone) AS date_trunc('day', utc_to_local(instant, zone))::TIMESTAMP;

-- Death or the end of observation told as midnight is known by its day: the day belongs to it.
CREATE MACRO followed_until(instant, zone) AS
    CASE
        WHEN utc_to_local(instant, zone) = local_day_of(instant, zone)
            THEN local_to_utc(local_day_of(instant, zone) + INTERVAL 1 DAY, zone, 0)
        ELSE instant
    END;

-- Completed months of age on a local day.
CREATE MACRO completed_months(birth_date, local_day) AS
    (year(local_day) - year(birth_date)) * 12 + month(local_day) - month(birth_date)
    - (day(local_day) < day(birth_date))::INTEGER;

CREATE TABLE told_code AS
SELECT DISTINCT 'InfusionRecorded' AS event_type, code_system, code FROM raw_infusion
UNION ALL SELECT DISTINCT 'MedicationGiven', code_system, code FROM raw_medication
UNION ALL SELECT DISTINCT 'AdverseEventReported', code_system, code FROM raw_adverse_event
UNION ALL SELECT DISTINCT 'DiagnosisRecorded', code_system, code FROM raw_diagnosis
UNION ALL SELECT DISTINCT 'LabResulted', code_system, code FROM raw_lab
UNION ALL SELECT DISTINCT 'VitalSignMeasured', code_system, code FROM raw_vital;

-- What the study calls each code, for facts about the patient.
CREATE TABLE code_meaning AS
SELECT DISTINCT t.event_type, t.code_system, t.code, m.concept
FROM told_code AS t
JOIN concept_map AS m
  ON m.event_type = t.event_type
 AND is_listed(m.code, m.code_system, m.match, t.code, t.code_system);

-- Codes of the indication, and those listed as never events, say nothing of any outcome, whether
-- they were reported or diagnosed and whatever else they mean (section 2).
CREATE TABLE never_event_code AS
SELECT DISTINCT t.event_type, t.code_system, t.code
FROM told_code AS t
JOIN concept_map AS m
  ON m.event_type IN ('AdverseEventReported', 'DiagnosisRecorded')
 AND is_listed(m.code, m.code_system, m.match, t.code, t.code_system)
SEMI JOIN never_event_concept AS n ON n.concept = m.concept
WHERE t.event_type IN ('AdverseEventReported', 'DiagnosisRecorded');

-- What a code is evidence of.
CREATE TABLE code_concept AS
FROM code_meaning ANTI JOIN never_event_code USING (event_type, code_system, code);

CREATE VIEW raw_lab_collected AS
SELECT
    * REPLACE (
        coalesce(occurred_at, resulted_at) AS occurred_at,
        CASE WHEN occurred_at IS NULL THEN 'instant' ELSE time_precision END AS time_precision
    ),
    -- A source that has no other time may put the issue time there itself, and says so.
    occurred_at IS NULL OR list_contains(coalesce(flags, []), 'imprecise_time') AS is_issue_time
FROM raw_lab;

CREATE TABLE infusion_event AS
SELECT e.*, c.concept
FROM raw_infusion AS e
JOIN code_concept AS c
  ON c.event_type = 'InfusionRecorded' AND c.code_system = e.code_system AND c.code = e.code;

CREATE TABLE medication_event AS
SELECT e.*, c.concept
FROM raw_medication AS e
JOIN code_concept AS c
  ON c.event_type = 'MedicationGiven' AND c.code_system = e.code_system AND c.code = e.code
WHERE coalesce(e.status, 'completed') NOT IN (
    'not-done', 'entered-in-error', 'cancelled', 'draft', 'declined', 'preparation'
);

-- Tablets dispensed, or on a list of what is taken at home, are no dose at a time: `unknown`.
CREATE TABLE medication AS
FROM placed('medication_event') WHERE status IS DISTINCT FROM 'unknown';

-- Facts about the patient: indication, exclusion, earlier exposure, lasting harm.
CREATE TABLE diagnosis_event AS
SELECT e.*, c.concept
FROM raw_diagnosis AS e
JOIN code_meaning AS c
  ON c.event_type = 'DiagnosisRecorded' AND c.code_system = e.code_system AND c.code = e.code;

CREATE TABLE diagnosis_told AS FROM placed('diagnosis_event');

-- Evidence of outcomes.
CREATE VIEW diagnosis AS
FROM diagnosis_told AS d
SEMI JOIN code_concept AS c
  ON c.event_type = 'DiagnosisRecorded' AND c.code_system = d.code_system AND c.code = d.code;

-- First day of a month or year, and of the one after it, as local midnights; null where more than
-- that is known.
CREATE MACRO first_day(occurred_at, time_precision, zone) AS CASE time_precision
    WHEN 'month' THEN date_trunc('month', utc_to_local(occurred_at, zone))::TIMESTAMP
    WHEN 'year' THEN date_trunc('year', utc_to_local(occurred_at, zone))::TIMESTAMP
END;

CREATE MACRO day_after(occurred_at, time_precision, zone) AS
    first_day(occurred_at, time_precision, zone)
    + CASE time_precision WHEN 'month' THEN INTERVAL 1 MONTH ELSE INTERVAL 1 YEAR END;

-- Facts about a patient need no window: a diagnosis known by month or year is known by its end.
CREATE TABLE diagnosis_fact AS
SELECT patient_key, concept, time_precision, i_lo, d_lo FROM diagnosis_told
UNION ALL
SELECT patient_key, concept, 'day', local_to_utc(known_day, zone, 0), known_day
FROM (
    SELECT *, day_after(occurred_at, time_precision, zone) - INTERVAL 1 DAY AS known_day
    FROM diagnosis_event
)
WHERE known_day IS NOT NULL;

CREATE TABLE report_told AS
SELECT e.*, c.concept
FROM placed('raw_adverse_event') AS e
JOIN code_meaning AS c
  ON c.event_type = 'AdverseEventReported' AND c.code_system = e.code_system AND c.code = e.code;

CREATE VIEW adverse_event AS
FROM report_told AS r
SEMI JOIN code_concept AS c
  ON c.event_type = 'AdverseEventReported' AND c.code_system = r.code_system AND c.code = r.code;

CREATE TABLE lab AS
SELECT e.*, c.concept
FROM placed('raw_lab_collected') AS e
JOIN code_concept AS c
  ON c.event_type = 'LabResulted' AND c.code_system = e.code_system AND c.code = e.code;

CREATE TABLE vital AS
SELECT e.*, c.concept
FROM placed('raw_vital') AS e
JOIN code_concept AS c
  ON c.event_type = 'VitalSignMeasured' AND c.code_system = e.code_system AND c.code = e.code;

CREATE TABLE encounter AS
SELECT
    *,
    coalesce(ended_at, TIMESTAMP '9999-01-01') AS open_end,
    greatest(d_lo, coalesce(local_day_of(ended_at, zone), TIMESTAMP '9999-01-01')) AS last_day
FROM placed('raw_encounter');

-- One row a patient: birth and the ends of follow-up. Ties of two registrations: the later one.
CREATE TABLE patient AS
SELECT
    patient_key,
    arg_max(birth_date, (version, content_hash)) AS birth_date,
    arg_max(coalesce(sex, 'unknown'), (version, content_hash)) AS sex,
    min(died_at) AS died_at,
    min(observation_end_at) AS observation_end_at
FROM raw_patient
WHERE patient_key IS NOT NULL
GROUP BY patient_key;
