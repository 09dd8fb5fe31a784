-- Reports and codes without a start, where the outcome takes them for events (section 1).
--
-- Such an event has no onset. It belongs to the latest unit that had begun when it ended or, where
-- no end is told, to the patient's first; and to that unit's `risk` window, or its first one.

CREATE TABLE undated_piece AS
SELECT DISTINCT ON (outcome, record_key) *
FROM (
    SELECT
        e.patient_key, o.outcome, o.min_grade, e.record_key, e.event_type, e.source_file_sha,
        e.source_row, e.ended_at, e.zone, e.grade, 'report without a start' AS rule
    FROM raw_adverse_event AS e
    JOIN code_concept AS c
      ON c.event_type = 'AdverseEventReported' AND c.code_system = e.code_system AND c.code = e.code
    JOIN outcome_report AS r USING (concept)
    JOIN study_outcome AS o ON o.outcome = r.outcome AND o.has_emergent
    WHERE e.occurred_at IS NULL
    UNION ALL
    SELECT
        e.patient_key, o.outcome, o.min_grade, e.record_key, e.event_type, e.source_file_sha,
        e.source_row, e.ended_at, e.zone, NULL, 'diagnosis code without a start'
    FROM raw_diagnosis AS e
    JOIN code_concept AS c
      ON c.event_type = 'DiagnosisRecorded' AND c.code_system = e.code_system AND c.code = e.code
    JOIN outcome_report AS r USING (concept)
    JOIN study_outcome AS o ON o.outcome = r.outcome AND o.has_emergent
    WHERE e.occurred_at IS NULL
)
ORDER BY outcome, record_key;

CREATE TABLE undated_event AS
WITH entered AS (
    SELECT outcome, arg_min(window_name, (window_name <> 'risk', rowid)) AS window_name
    FROM outcome_window
    GROUP BY outcome
),
candidate AS (
    SELECT
        e.*,
        w.window_name,
        coalesce(w.merged_into, w.unit_id) AS unit_id,
        row_number() OVER in_order AS nth,
        count(*) OVER (PARTITION BY e.outcome, e.record_key) AS n
    FROM undated_piece AS e
    JOIN entered USING (outcome)
    JOIN unit_window AS w
      ON w.patient_key = e.patient_key AND w.outcome = e.outcome
     AND w.window_name = entered.window_name
    -- A window that was cut where it begins holds nothing.
    WHERE (w.cut_at > w.lo OR w.merged_into IS NOT NULL)
      AND (e.ended_at IS NULL OR CASE
            WHEN w.axis = 'day' OR utc_to_local(e.ended_at, e.zone) = local_day_of(e.ended_at, e.zone)
            THEN w.index_day <= local_day_of(e.ended_at, e.zone)
            ELSE w.started_at <= e.ended_at
          END)
    WINDOW in_order AS (
        PARTITION BY e.outcome, e.record_key ORDER BY w.started_at, w.ended_at, w.unit_id DESC
    )
)
SELECT
    unit_id, outcome, window_name, record_key, event_type, source_file_sha, source_row, rule, grade,
    coalesce(grade >= min_grade, true) AS is_counted
FROM candidate
WHERE nth = CASE WHEN ended_at IS NULL THEN 1 ELSE n END;

CREATE TABLE undated_hit AS
SELECT unit_id, outcome, window_name, count(*) AS n_events, max(grade) AS grade
FROM undated_event
WHERE is_counted
GROUP BY unit_id, outcome, window_name;
