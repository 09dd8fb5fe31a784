-- Time at risk (section 5): from the window's start, but not before the record's, to its cut, without
-- what clean windows and, under `merge`, risk windows take.
--
-- Three measures: up to the first event (by days, its day included); to the cut; and to the cut as if
-- there were no clean window.

CREATE TABLE risk_span AS
WITH record AS (
    SELECT
        unit_id,
        record_started_at AS started_at,
        local_day_of(record_started_at, zone) AS started_day
    FROM unit
)
SELECT
    w.unit_id,
    w.outcome,
    w.window_name,
    w.patient_key,
    w.axis,
    greatest(w.lo, CASE w.axis WHEN 'day' THEN r.started_day ELSE r.started_at END) AS from_at,
    w.cut_at,
    least(
        w.cut_at,
        CASE w.axis WHEN 'day' THEN t.onset_axis + INTERVAL 1 DAY ELSE t.onset_axis END
    ) AS event_at
FROM unit_window AS w
JOIN state AS t USING (unit_id, outcome, window_name)
JOIN record AS r USING (unit_id);

-- What is lost of it, piece by piece; pieces may overlap.
CREATE TABLE lost_time AS
SELECT s.unit_id, s.outcome, s.window_name, s.from_at, s.cut_at, s.event_at, x.lo, x.hi,
    false AS is_clean
FROM risk_span AS s
JOIN lost_to_risk AS x USING (unit_id, outcome, window_name)
UNION ALL
SELECT s.unit_id, s.outcome, s.window_name, s.from_at, s.cut_at, s.event_at,
    CASE s.axis WHEN 'day' THEN e.onset_d + INTERVAL 1 DAY ELSE e.onset_i END AS lo,
    CASE s.axis WHEN 'day' THEN e.until_d + INTERVAL 1 DAY ELSE e.until_i END AS hi,
    true
FROM risk_span AS s
JOIN episode_span AS e
  ON e.patient_key = s.patient_key AND e.outcome = s.outcome AND e.keeps_clean
 AND coalesce(e.unit_id, s.unit_id) = s.unit_id
 AND coalesce(e.window_name, s.window_name) = s.window_name;

CREATE TABLE time_lost AS
WITH clipped AS (
    SELECT l.unit_id, l.outcome, l.window_name, m.measure,
        greatest(l.lo, l.from_at) AS lo,
        least(l.hi, CASE m.measure WHEN 'to_event' THEN l.event_at ELSE l.cut_at END) AS hi
    FROM lost_time AS l
    CROSS JOIN (VALUES ('to_event'), ('to_cut'), ('uncleaned')) AS m(measure)
    WHERE NOT (l.is_clean AND m.measure = 'uncleaned')
),
-- Each piece adds what no piece before it has covered.
added AS (
    SELECT *, greatest(lo, max(hi) OVER (
        PARTITION BY unit_id, outcome, window_name, measure ORDER BY lo, hi
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )) AS new_lo
    FROM clipped
    WHERE hi > lo
)
SELECT
    unit_id,
    outcome,
    window_name,
    sum(epoch_us(hi) - epoch_us(new_lo)) FILTER (WHERE measure = 'to_event') AS to_event_us,
    sum(epoch_us(hi) - epoch_us(new_lo)) FILTER (WHERE measure = 'to_cut') AS to_cut_us,
    sum(epoch_us(hi) - epoch_us(new_lo)) FILTER (WHERE measure = 'uncleaned') AS uncleaned_us
FROM added
WHERE hi > new_lo
GROUP BY unit_id, outcome, window_name;

CREATE MACRO us_between(from_at, until_at) AS greatest(0, epoch_us(until_at) - epoch_us(from_at));

CREATE TABLE time_at_risk AS
SELECT
    s.unit_id,
    s.outcome,
    s.window_name,
    (us_between(s.from_at, s.event_at) - coalesce(x.to_event_us, 0))::BIGINT AS person_us,
    (us_between(s.from_at, s.cut_at) - coalesce(x.to_cut_us, 0))::BIGINT AS at_risk_us,
    (us_between(s.from_at, s.cut_at) - coalesce(x.uncleaned_us, 0))::BIGINT AS uncleaned_us
FROM risk_span AS s
LEFT JOIN time_lost AS x USING (unit_id, outcome, window_name);
