-- Reports, codes and readings that belong together (section 5), and fever's grades (section 8).
--
-- Pieces of evidence at most the gap apart are one event, whose onset is the earliest. An event is
-- treatment-emergent where its onset lies in the window, or where it gets worse in the window than
-- it was before. A missing grade never suppresses a new onset and never makes an event worse.

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
    -- Readings known by their day and problem lists lie before the infusion of that day.
    NULL::VARCHAR AS own_same_day,
    e.ended_at, local_day_of(e.ended_at, e.zone) AS end_day, e.grade, e.record_key, e.event_type,
    e.source_file_sha, e.source_row, 'report' AS rule, NULL::DOUBLE AS value, NULL::VARCHAR AS unit
FROM adverse_event AS e
JOIN outcome_report AS r USING (concept)
UNION ALL BY NAME
SELECT
    e.patient_key, r.outcome, r.is_chronic, e.time_precision, e.i_lo, e.i_hi, e.d_lo, e.d_hi,
    CASE WHEN e.category = 'problem-list' THEN 'before' END AS own_same_day,
    e.ended_at, local_day_of(e.ended_at, e.zone) AS end_day, NULL::INTEGER AS grade,
    e.record_key, e.event_type, e.source_file_sha, e.source_row, 'diagnosis code' AS rule
FROM diagnosis AS e
JOIN outcome_report AS r USING (concept)
UNION ALL BY NAME
SELECT
    e.patient_key, e.outcome, false AS is_chronic, e.time_precision, e.i_lo, e.i_hi, e.d_lo,
    e.d_hi, CASE WHEN e.time_precision = 'day' THEN 'before' END AS own_same_day, NULL::TIMESTAMP AS ended_at, NULL::TIMESTAMP AS end_day, e.grade, e.record_key, e.event_type, e.source_file_sha,
    e.source_row, 'temperature of 38.0 C or more' AS rule, e.celsius AS value, 'Cel' AS unit
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
    patient_key, outcome, false AS is_chronic, time_precision, i_lo, i_hi, d_lo, d_hi, record_key,
    event_type, source_file_sha, source_row, 'above the limit of the age' AS rule, rate AS value,
    unit_id, window_name
FROM rate_confirmed;

CREATE TABLE episode_piece AS
WITH edges AS (
    SELECT
        p.*,
        o.gap_us,
        o.resolved_us,
        o.min_grade,
        -- Where a day is all that is known of either piece, days are compared.
        max(greatest(p.i_lo, p.ended_at)) FILTER (WHERE p.time_precision <> 'day') OVER earlier
            AS last_i,
        max(greatest(p.d_lo, p.end_day)) OVER earlier AS last_d,
        max(greatest(p.d_lo, p.end_day)) FILTER (WHERE p.time_precision = 'day') OVER earlier
            AS last_known_day,
        bool_or(p.is_chronic) OVER earlier AS was_chronic
    FROM window_piece AS p
    JOIN study_outcome AS o USING (outcome)
    WINDOW earlier AS (
        PARTITION BY p.patient_key, p.outcome, p.unit_id, p.window_name
        ORDER BY p.i_lo, p.record_key
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
marked AS (
    SELECT *, NOT (is_chronic AND coalesce(was_chronic, false)) AND coalesce(
        CASE
            WHEN time_precision = 'day' OR (SELECT resolution FROM setting) = 'day'
                THEN d_lo > last_d + to_microseconds(gap_us)
            ELSE coalesce(i_lo > last_i + to_microseconds(gap_us), true)
                AND coalesce(d_lo > last_known_day + to_microseconds(gap_us), true)
        END,
        true
    ) AS is_new
    FROM edges
)
SELECT
    * EXCLUDE (last_i, last_d, last_known_day, was_chronic, is_new),
    sum(is_new::INTEGER) OVER (
        PARTITION BY patient_key, outcome, unit_id, window_name
        ORDER BY i_lo, record_key ROWS UNBOUNDED PRECEDING
    ) AS episode,
    -- When the piece's event is taken to have ended, as far as this piece can tell.
    CASE
        WHEN is_chronic THEN TIMESTAMP '9999-01-01'
        WHEN ended_at IS NOT NULL THEN ended_at
        WHEN event_type = 'VitalSignMeasured' THEN i_lo + to_microseconds(gap_us)
        ELSE i_lo + to_microseconds(resolved_us)
    END AS assumed_end_i
FROM marked;

CREATE TABLE piece_in_window AS
SELECT
    w.unit_id,
    w.window_name,
    w.lo,
    w.axis,
    w.started_at,
    p.* EXCLUDE (unit_id, window_name),
    is_same_day(w.axis, p.time_precision, p.d_lo, w.index_day) AND coalesce(p.own_same_day, w.same_day) <> 'after' AS is_set_aside,
    is_same_day(w.axis, p.time_precision, p.d_lo, w.index_day) AND coalesce(p.own_same_day, w.same_day) = 'exclude' AS is_nowhere,
    meets(w.axis, p.i_lo, p.i_hi, p.d_lo, p.d_hi, w.lo, w.cut_at)
        -- The next unit's own day, known by its day: the next unit's, or nobody's.
        AND NOT (
            coalesce(p.own_same_day, w.same_day) <> 'before' AND p.time_precision = 'day'
            AND p.d_lo IS NOT DISTINCT FROM w.next_day
        ) AS is_met,
    (is_same_day(w.axis, p.time_precision, p.d_lo, w.index_day)
        AND coalesce(p.own_same_day, w.same_day) = 'before')
        OR CASE w.axis WHEN 'day' THEN p.d_hi <= w.lo ELSE p.i_hi <= w.lo END AS is_before
FROM unit_window AS w
JOIN episode_piece AS p
  ON p.patient_key = w.patient_key AND p.outcome = w.outcome
 AND coalesce(p.unit_id, w.unit_id) = w.unit_id
 AND coalesce(p.window_name, w.window_name) = w.window_name
WHERE CASE w.axis WHEN 'day' THEN p.d_lo < w.cut_at ELSE p.i_lo < w.cut_at END;

-- The risk window wins over control: an event known by its day never enters both.
CREATE TABLE piece_counted AS
SELECT
    p.*,
    p.is_met AND NOT p.is_set_aside
    AND NOT (
        p.window_name = 'control' AND p.time_precision = 'day'
        AND EXISTS (
            FROM piece_in_window AS r
            WHERE r.unit_id = p.unit_id AND r.outcome = p.outcome AND r.window_name = 'risk'
              AND r.record_key = p.record_key AND r.is_met
        )
    ) AS is_in
FROM piece_in_window AS p;

CREATE TABLE episode_in_window AS
SELECT
    unit_id,
    outcome,
    window_name,
    patient_key,
    episode,
    any_value(axis) AS axis,
    any_value(started_at) AS started_at,
    any_value(min_grade) AS min_grade,
    count(*) FILTER (WHERE is_in) AS n_in,
    min(i_lo) FILTER (WHERE is_in) AS onset_in,
    count(*) FILTER (WHERE is_before AND NOT is_in) AS n_before,
    max(grade) FILTER (WHERE is_in) AS grade_in,
    max(grade) FILTER (WHERE is_before AND NOT is_in) AS grade_before
FROM piece_counted
GROUP BY unit_id, outcome, window_name, patient_key, episode
HAVING n_in > 0;

CREATE TABLE episode_judged AS
SELECT
    e.*,
    x.grade_earlier,
    coalesce(e.grade_in > e.grade_before, false) AS is_worse_within,
    coalesce(e.grade_in <= x.grade_earlier, false) AS is_ongoing_earlier
FROM episode_in_window AS e
LEFT JOIN (
    -- An earlier event, both graded, that is taken to go on when this one begins.
    SELECT this.unit_id, this.window_name, this.outcome, this.episode,
           max(earlier.grade) AS grade_earlier
    FROM episode_in_window AS this
    JOIN (
        SELECT unit_id, window_name, outcome, episode, max(grade) AS grade,
               max(assumed_end_i) AS assumed_end_i
        FROM piece_in_window
        WHERE NOT is_nowhere
        GROUP BY unit_id, window_name, outcome, episode
    ) AS earlier
      ON earlier.unit_id = this.unit_id AND earlier.window_name = this.window_name
     AND earlier.outcome = this.outcome
     AND earlier.episode < this.episode AND earlier.assumed_end_i > this.onset_in
    GROUP BY ALL
) AS x
  ON x.unit_id = e.unit_id AND x.window_name = e.window_name AND x.outcome = e.outcome
 AND x.episode = e.episode;

CREATE TABLE episode_verdict AS
SELECT
    *,
    CASE
        WHEN coalesce(grade_in < min_grade, false) THEN 'below_grade'
        WHEN n_before > 0 AND is_worse_within THEN 'worsened'
        WHEN n_before > 0 THEN 'pre_existing'
        WHEN is_ongoing_earlier THEN 'pre_existing'
        ELSE 'new'
    END AS verdict
FROM episode_judged;

CREATE TABLE episode_hit AS
WITH onset AS (
    SELECT
        v.unit_id,
        v.outcome,
        v.window_name,
        v.verdict,
        p.i_lo,
        p.d_lo,
        p.time_precision,
        p.lo,
        p.axis,
        v.grade_in AS grade,
        row_number() OVER (
            PARTITION BY v.unit_id, v.outcome, v.window_name ORDER BY p.i_lo, p.record_key
        ) AS place
    FROM episode_verdict AS v
    JOIN piece_counted AS p
      ON p.unit_id = v.unit_id AND p.outcome = v.outcome AND p.window_name = v.window_name
     AND p.episode = v.episode AND p.is_in
     AND (v.verdict = 'new' OR p.grade > v.grade_before)
    WHERE v.verdict IN ('new', 'worsened')
)
SELECT
    unit_id,
    outcome,
    window_name,
    i_lo AS onset_at,
    CASE WHEN axis = 'day' THEN 'day' ELSE time_precision END AS onset_precision,
    greatest(lo, CASE axis WHEN 'day' THEN d_lo ELSE i_lo END) AS onset_axis,
    max(grade) OVER (PARTITION BY unit_id, outcome, window_name) AS grade,
    verdict = 'worsened' AS is_worsened
FROM onset
QUALIFY place = 1;
