-- How far each feed may move before any of a patient's windows closes or opens.
--
-- Feeds say nothing in linkage but which windows are closed (04_window). So while each feed stays
-- between `holds_from` and `holds_until` (not included), linking the patient again gives the same.

-- What many windows share is worked out once: outcomes that read the same feeds are one circle.
CREATE TABLE circle_reads AS
SELECT outcome, string_agg(event_type || ' ' || lag_us, ', ' ORDER BY event_type, lag_us) AS circle
FROM outcome_reads
GROUP BY outcome;

CREATE TABLE out_settled AS
WITH ending AS (
    SELECT DISTINCT w.patient_key, w.site_id, w.axis, w.closing_hi, c.circle
    FROM unit_window_span AS w
    JOIN circle_reads AS c USING (outcome)
    WHERE w.closing_hi IS NOT NULL
),
feed AS (
    SELECT DISTINCT c.circle, r.event_type, r.lag_us
    FROM outcome_reads AS r JOIN circle_reads AS c USING (outcome)
),
-- A day ends at another instant in each zone, and where clocks change: a day and a half hold them.
deciding AS (
    SELECT DISTINCT
        e.patient_key,
        f.event_type,
        t.data_through_at,
        e.closing_hi + to_microseconds(f.lag_us) AS decides_at,
        CASE e.axis WHEN 'day' THEN INTERVAL 36 HOUR ELSE INTERVAL 0 HOUR END AS give
    FROM ending AS e
    JOIN feed AS f USING (circle)
    JOIN data_through AS t ON t.site_id = e.site_id AND t.event_type = f.event_type
    WHERE t.data_through_at IS NOT NULL
)
SELECT
    s.study_id,
    d.patient_key,
    d.event_type,
    max(d.decides_at + d.give) FILTER (d.decides_at + d.give <= d.data_through_at) AS holds_from,
    min(d.decides_at - d.give) FILTER (d.decides_at + d.give > d.data_through_at) AS holds_until
FROM deciding AS d
CROSS JOIN setting AS s
GROUP BY s.study_id, d.patient_key, d.event_type;
