-- Which pieces are one event, when it ended, and what it keeps clean (section 5).
--
-- Pieces of evidence at most the gap apart are one event, whose onset is the earliest and whose end
-- is the latest of theirs; without a gap every piece is one. A clean window lasts from the onset to
-- so long after the end.

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
    SELECT *, (
        gap_us IS NULL OR NOT (is_chronic AND coalesce(was_chronic, false))
    ) AND coalesce(
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
        WHEN ended_at IS NOT NULL THEN ended_at
        WHEN is_chronic THEN TIMESTAMP '9999-01-01'
        WHEN event_type = 'VitalSignMeasured' THEN i_lo + to_microseconds(coalesce(gap_us, 0))
        ELSE i_lo + to_microseconds(resolved_us)
    END AS assumed_end_i
FROM marked;

-- Where an outcome has a clean window: the first later reading below the cut, within the gap.
CREATE TABLE reading_end AS
WITH low_reading AS (
    SELECT patient_key, outcome, NULL::VARCHAR AS unit_id, time_precision, i_lo, d_lo
    FROM temperature
    WHERE celsius < 38.0
    UNION ALL
    SELECT r.patient_key, r.outcome, u.unit_id, r.time_precision, r.i_lo, r.d_lo
    FROM rate_reading AS r
    JOIN rate_unit AS u USING (patient_key, outcome)
    WHERE r.rate <= u.high
)
SELECT
    p.record_key,
    p.outcome,
    p.unit_id,
    p.window_name,
    min(l.i_lo) AS end_i,
    arg_min(l.d_lo, l.i_lo) AS end_d,
    arg_min(l.time_precision = 'day', l.i_lo) AS is_end_day
FROM episode_piece AS p
JOIN study_outcome AS o USING (outcome)
JOIN low_reading AS l
  ON l.patient_key = p.patient_key AND l.outcome = p.outcome
 AND l.unit_id IS NOT DISTINCT FROM p.unit_id
 AND CASE
        WHEN p.time_precision = 'day' OR l.time_precision = 'day'
            OR (SELECT resolution FROM setting) = 'day'
        THEN l.d_lo > p.d_lo AND l.d_lo <= p.d_lo + to_microseconds(o.gap_us)
        ELSE l.i_lo > p.i_lo AND l.i_lo <= p.i_lo + to_microseconds(o.gap_us)
     END
WHERE o.clean_us IS NOT NULL AND p.event_type = 'VitalSignMeasured'
GROUP BY p.record_key, p.outcome, p.unit_id, p.window_name;

-- Events of such outcomes, with the last moment and the last day that they keep clean.
CREATE TABLE episode_span AS
WITH ended AS (
    SELECT
        p.*,
        o.clean_us,
        CASE
            WHEN p.ended_at IS NULL THEN coalesce(r.end_i, p.assumed_end_i)
            ELSE greatest(p.i_lo, p.ended_at)
        END AS end_i,
        date_trunc('day', CASE
            WHEN p.ended_at IS NOT NULL THEN greatest(p.d_lo, p.end_day)
            WHEN p.is_chronic THEN p.assumed_end_i
            WHEN r.end_d IS NOT NULL THEN r.end_d
            WHEN p.event_type = 'VitalSignMeasured'
                THEN p.d_lo + to_microseconds(coalesce(o.gap_us, 0))
            ELSE p.d_lo + to_microseconds(o.resolved_us)
        END) AS end_d,
        -- An end told as midnight is known by its day.
        CASE
            WHEN p.is_chronic AND p.ended_at IS NULL THEN false
            WHEN p.ended_at > p.i_lo THEN utc_to_local(p.ended_at, p.zone) = p.end_day
            ELSE coalesce(r.is_end_day, p.time_precision = 'day')
        END AS is_end_day
    FROM episode_piece AS p
    JOIN study_outcome AS o ON o.outcome = p.outcome AND o.clean_us IS NOT NULL
    LEFT JOIN reading_end AS r
      ON r.record_key = p.record_key AND r.outcome = p.outcome
     AND r.unit_id IS NOT DISTINCT FROM p.unit_id
     AND r.window_name IS NOT DISTINCT FROM p.window_name
),
kept AS (
    SELECT
        *,
        date_trunc('day', end_d + to_microseconds(clean_us)) AS until_d,
        CASE
            WHEN is_end_day THEN local_to_utc(until_d + INTERVAL 1 DAY, zone, 0)
            ELSE end_i + to_microseconds(clean_us)
        END AS until_i
    FROM ended
),
spanned AS (
    SELECT
        patient_key,
        outcome,
        unit_id,
        window_name,
        episode,
        min(i_lo) AS onset_i,
        min(d_lo) AS onset_d,
        min(zone) AS zone,
        arg_min(time_precision = 'day', (i_lo, record_key)) AS is_onset_day,
        max(until_i) AS until_i,
        max(until_d) AS until_d,
        arg_max(is_end_day, (until_i, record_key)) AS is_end_day,
        max(grade) AS grade,
        -- What is too slight to be an event keeps nothing clean.
        coalesce(max(grade) >= any_value(min_grade), true) AS keeps_clean
    FROM kept
    GROUP BY patient_key, outcome, unit_id, window_name, episode
)
-- Where a day is all that is known of onset or end, whole days are kept clean.
SELECT * REPLACE (
    CASE
        WHEN is_onset_day OR is_end_day THEN local_to_utc(until_d + INTERVAL 1 DAY, zone, 0)
        ELSE until_i
    END AS until_i
)
FROM spanned;
