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

-- Does [lo, hi) of an event meet [from_at, until_at) of a window, on the unit's axis?
CREATE MACRO meets(axis, i_lo, i_hi, d_lo, d_hi, from_at, until_at) AS
    CASE axis
        WHEN 'day' THEN d_lo < until_at AND d_hi > from_at
        ELSE i_lo < until_at AND i_hi > from_at
    END;

-- An event on the index date that is known by its day only: the study says on which side it falls.
CREATE MACRO is_same_day(axis, time_precision, d_lo, index_date) AS
    (axis = 'day' OR time_precision = 'day') AND d_lo = index_date;

-- The local day of an instant, as midnight.
CREATE MACRO local_day_of(instant, zone) AS date_trunc('day', utc_to_local(instant, zone))::TIMESTAMP;

-- Death or the end of observation told as midnight is known by its day: the day belongs to it.
CREATE MACRO followed_until(instant, zone) AS
    CASE
        WHEN utc_to_local(instant, zone) = local_day_of(instant, zone)
            THEN local_to_utc(local_day_of(instant, zone) + INTERVAL 1 DAY, zone, 0)
        ELSE instant
    END;

-- Codes that the study knows, once per distinct code; ICD codes are one with and without their dot.
CREATE TABLE code_concept AS
WITH seen AS (
    SELECT DISTINCT 'InfusionRecorded' AS event_type, code_system, code FROM raw_infusion
    UNION ALL SELECT DISTINCT 'MedicationGiven', code_system, code FROM raw_medication
    UNION ALL SELECT DISTINCT 'AdverseEventReported', code_system, code FROM raw_adverse_event
    UNION ALL SELECT DISTINCT 'DiagnosisRecorded', code_system, code FROM raw_diagnosis
    UNION ALL SELECT DISTINCT 'LabResulted', code_system, code FROM raw_lab
    UNION ALL SELECT DISTINCT 'VitalSignMeasured', code_system, code FROM raw_vital
)
SELECT DISTINCT s.event_type, s.code_system, s.code, m.concept
FROM seen AS s
JOIN concept_map AS m
  ON m.event_type = s.event_type
 AND m.code_system = s.code_system
 AND CASE m.match
        WHEN 'prefix' THEN starts_with(
            comparable_code(s.code, s.code_system), comparable_code(m.code, m.code_system)
        )
        ELSE comparable_code(s.code, s.code_system) = comparable_code(m.code, m.code_system)
     END;

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

CREATE TABLE diagnosis_event AS
SELECT e.*, c.concept
FROM raw_diagnosis AS e
JOIN code_concept AS c
  ON c.event_type = 'DiagnosisRecorded' AND c.code_system = e.code_system AND c.code = e.code;

CREATE TABLE diagnosis AS FROM placed('diagnosis_event');

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
SELECT patient_key, concept, time_precision, i_lo, d_lo FROM diagnosis
UNION ALL
SELECT patient_key, concept, 'day', local_to_utc(known_day, zone, 0), known_day
FROM (
    SELECT *, day_after(occurred_at, time_precision, zone) - INTERVAL 1 DAY AS known_day
    FROM diagnosis_event
)
WHERE known_day IS NOT NULL;

CREATE TABLE adverse_event AS
SELECT e.*, c.concept
FROM placed('raw_adverse_event') AS e
JOIN code_concept AS c
  ON c.event_type = 'AdverseEventReported' AND c.code_system = e.code_system AND c.code = e.code;

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

-- Events of the study that fall into no window, for want of a day: counted, never linked.
CREATE MACRO of_study_without_day(table_name, type_name) AS TABLE
SELECT type_name AS event_type, e.site_id, count(*) AS n
FROM query_table(table_name) AS e
SEMI JOIN code_concept AS c
  ON c.event_type = type_name AND c.code_system = e.code_system AND c.code = e.code
WHERE e.occurred_at IS NULL OR e.time_precision IS NULL OR e.time_precision NOT IN ('instant', 'day')
GROUP BY e.site_id;

CREATE TABLE event_without_day AS
FROM of_study_without_day('raw_medication', 'MedicationGiven')
UNION ALL FROM of_study_without_day('raw_adverse_event', 'AdverseEventReported')
UNION ALL FROM of_study_without_day('raw_diagnosis', 'DiagnosisRecorded')
UNION ALL FROM of_study_without_day('raw_lab_collected', 'LabResulted')
UNION ALL FROM of_study_without_day('raw_vital', 'VitalSignMeasured');
