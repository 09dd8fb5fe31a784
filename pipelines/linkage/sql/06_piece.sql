-- Pieces of evidence: reports, codes, temperatures (sections 5 and 8).

-- Temperature in Celsius, rounded to 0.1 before any cut. Grade 4 needs readings above 40.0 at least
-- 24 h apart and none lower between; a single high reading is grade 3, its duration unknown.
CREATE TABLE temperature AS
SELECT
    v.*,
    o.outcome,
    round(v.value * a.to_canonical_factor + a.to_canonical_offset, 1) AS celsius
FROM vital AS v
JOIN study_outcome AS o ON o.kind = 'fever' AND o.concept = v.concept
JOIN analyte AS a ON a.concept = v.concept AND a.unit = v.unit
WHERE v.value IS NOT NULL;

CREATE TABLE high_temperature AS
SELECT *
FROM (
    -- The last reading at or below 40.0 before this moment; one of the same moment is not between.
    SELECT *, max(i_lo) FILTER (WHERE celsius <= 40.0) OVER (
        PARTITION BY patient_key, outcome ORDER BY i_lo
        RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING
    ) AS lower_at
    FROM temperature
)
WHERE celsius > 40.0;

CREATE TABLE fever_reading AS
WITH lasting AS (
    SELECT DISTINCT h.record_key, h.outcome
    FROM high_temperature AS h
    JOIN high_temperature AS e
      ON e.patient_key = h.patient_key AND e.outcome = h.outcome
     AND e.i_lo <= h.i_lo - INTERVAL 24 HOUR
     AND (h.lower_at IS NULL OR e.i_lo >= h.lower_at)
)
SELECT t.*, CASE
    WHEN l.record_key IS NOT NULL THEN 4
    WHEN celsius > 40.0 THEN 3
    WHEN celsius > 39.0 THEN 2
    ELSE 1
END AS grade
FROM temperature AS t
LEFT JOIN lasting AS l ON l.record_key = t.record_key AND l.outcome = t.outcome
WHERE celsius >= 38.0;

-- One piece a record and outcome, though its code may lie in two concepts of the outcome.
CREATE TABLE piece AS
SELECT DISTINCT ON (outcome, record_key) *
FROM (
SELECT
    e.patient_key, r.outcome, r.is_chronic, e.time_precision, e.i_lo, e.i_hi, e.d_lo, e.d_hi,
    e.zone,
    -- Readings known by their day and problem lists lie before the infusion of that day.
    NULL::VARCHAR AS own_same_day,
    e.ended_at, local_day_of(e.ended_at, e.zone) AS end_day, e.grade, e.record_key, e.event_type,
    e.source_file_sha, e.source_row, 'report' AS rule, NULL::DOUBLE AS value, NULL::VARCHAR AS unit
FROM adverse_event AS e
JOIN outcome_report AS r USING (concept)
UNION ALL BY NAME
SELECT
    e.patient_key, r.outcome, r.is_chronic, e.time_precision, e.i_lo, e.i_hi, e.d_lo, e.d_hi,
    e.zone,
    CASE WHEN e.category = 'problem-list' THEN 'before' END AS own_same_day,
    e.ended_at, local_day_of(e.ended_at, e.zone) AS end_day, NULL::INTEGER AS grade,
    e.record_key, e.event_type, e.source_file_sha, e.source_row, 'diagnosis code' AS rule
FROM diagnosis AS e
JOIN outcome_report AS r USING (concept)
UNION ALL BY NAME
SELECT
    e.patient_key, e.outcome, false AS is_chronic, e.time_precision, e.i_lo, e.i_hi, e.d_lo,
    e.d_hi, e.zone, CASE WHEN e.time_precision = 'day' THEN 'before' END AS own_same_day,
    NULL::TIMESTAMP AS ended_at, NULL::TIMESTAMP AS end_day, e.grade, e.record_key, e.event_type,
    e.source_file_sha, e.source_row, 'temperature of 38.0 C or more' AS rule, e.celsius AS value, 'Cel' AS unit
FROM fever_reading AS e
)
ORDER BY outcome, record_key, is_chronic DESC;

-- Which heart and breathing rates are evidence depends on the window (05_vital_limit), and so does
-- what they join: there, events are put together window by window. All others are the patient's.
CREATE TABLE window_piece AS
SELECT p.*, NULL::VARCHAR AS unit_id, NULL::VARCHAR AS window_name
FROM piece AS p
JOIN study_outcome AS o USING (outcome)
WHERE o.kind <> 'vital_limit'
UNION ALL BY NAME
SELECT p.*, w.unit_id, w.window_name
FROM piece AS p
JOIN unit_window AS w USING (patient_key, outcome)
WHERE w.kind = 'vital_limit'
UNION ALL BY NAME
SELECT
    patient_key, outcome, false AS is_chronic, time_precision, i_lo, i_hi, d_lo, d_hi, zone,
    record_key, event_type, source_file_sha, source_row, 'above the limit of the age' AS rule,
    rate AS value, unit_id, window_name
FROM rate_confirmed;
