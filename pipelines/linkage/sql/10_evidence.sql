-- The records behind every link, and the rule that admitted or refused each.
--
-- Its role: `event` (it makes the event, or would where a reason says why it does not), `earlier`
-- (before the window, what was there already), `worst` (the result furthest gone, no event),
-- `baseline` (what results were compared with). A composite stands on the counted evidence of its
-- components.

CREATE TABLE simple_evidence AS
SELECT
    v.unit_id, v.outcome, v.window_name, p.record_key, p.event_type, p.source_file_sha,
    p.source_row, p.rule, p.i_lo AS occurred_at,
    CASE WHEN p.is_in THEN 'event' ELSE 'earlier' END AS role,
    p.is_in AND v.verdict IN ('new', 'worsened') AS is_counted,
    CASE WHEN NOT p.is_in THEN 'before the window'
         WHEN v.verdict NOT IN ('new', 'worsened') THEN v.verdict END AS reason
FROM episode_verdict AS v
JOIN piece_counted AS p
  ON p.unit_id = v.unit_id AND p.outcome = v.outcome AND p.window_name = v.window_name
 AND p.episode = v.episode AND (p.is_in OR p.is_before)
UNION ALL BY NAME
SELECT
    j.unit_id, j.outcome, j.window_name, j.record_key, j.event_type, j.source_file_sha,
    j.source_row, j.i_lo AS occurred_at,
    CASE WHEN j.is_hit THEN 'event' ELSE 'worst' END AS role,
    CASE WHEN j.kind = 'threshold' THEN 'beyond threshold'
         WHEN j.baseline_canonical IS NULL THEN j.kind || ' without baseline'
         WHEN j.kind = 'grade' THEN 'grade above baseline'
         ELSE 'ratio to baseline' END AS rule,
    j.is_hit AS is_counted,
    CASE WHEN NOT j.is_hit THEN 'not an event' END AS reason
FROM lab_judged AS j
JOIN lab_result AS r USING (unit_id, outcome, window_name)
WHERE j.is_hit OR j.record_key = r.worst_key
UNION ALL BY NAME
SELECT
    w.unit_id, w.outcome, w.window_name, b.record_key, b.event_type, b.source_file_sha,
    b.source_row, b.i_lo AS occurred_at, 'baseline' AS role,
    'last result before the index' AS rule, false AS is_counted, 'baseline' AS reason
FROM lab_baseline AS b
JOIN lab_result AS w USING (unit_id, outcome, window_name)
UNION ALL BY NAME
SELECT
    h.unit_id, h.outcome, h.window_name, h.record_key, h.event_type, h.source_file_sha,
    h.source_row, h.i_lo AS occurred_at, 'event' AS role, 'above the limit of the age' AS rule,
    false AS is_counted, 'not confirmed by a second reading' AS reason
FROM rate_high AS h
ANTI JOIN rate_confirmed USING (unit_id, outcome, window_name, record_key)
UNION ALL BY NAME
SELECT
    x.unit_id, x.outcome, x.window_name, x.record_key, x.event_type, x.source_file_sha,
    x.source_row, NULL::TIMESTAMP AS occurred_at, 'event' AS role, x.rule, x.is_counted,
    CASE WHEN NOT x.is_counted THEN 'below_grade' END AS reason
FROM undated_event AS x;

-- Which part of a nested record an event was made from (a component of an observation).
CREATE TABLE record_part AS
SELECT record_key, any_value(source_part) AS source_part
FROM (
    SELECT record_key, source_part FROM raw_adverse_event
    UNION ALL SELECT record_key, source_part FROM raw_diagnosis
    UNION ALL SELECT record_key, source_part FROM raw_lab
    UNION ALL SELECT record_key, source_part FROM raw_vital
)
WHERE source_part IS NOT NULL
GROUP BY record_key;

-- A composite stands on the counted evidence of its true components, down to the last simple one.
CREATE TABLE out_evidence AS
WITH RECURSIVE counted AS (
    SELECT unit_id, outcome, window_name, outcome AS simple FROM simple_evidence WHERE is_counted
    UNION
    SELECT k.unit_id, c.outcome, k.window_name, k.simple
    FROM counted AS k
    JOIN composite AS c ON c.component = k.outcome
    JOIN state AS t
      ON t.unit_id = k.unit_id AND t.outcome = c.outcome AND t.window_name = k.window_name
     AND t.is_low
),
everything AS (
    FROM simple_evidence
    UNION ALL BY NAME
    SELECT e.* REPLACE (k.outcome AS outcome, 'component ' || e.outcome AS rule)
    FROM simple_evidence AS e
    JOIN counted AS k
      ON k.unit_id = e.unit_id AND k.simple = e.outcome AND k.window_name = e.window_name
     AND k.outcome <> e.outcome
    WHERE e.is_counted
)
SELECT
    s.study_id, u.site_id, e.unit_id, e.outcome, e.window_name, e.record_key, e.event_type,
    e.source_file_sha, e.source_row, p.source_part, e.role, e.rule, e.occurred_at,
    e.is_counted, e.reason
FROM everything AS e
JOIN unit AS u USING (unit_id)
LEFT JOIN record_part AS p USING (record_key)
CROSS JOIN setting AS s;
