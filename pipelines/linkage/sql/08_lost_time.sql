-- Time in a window that is not at risk (section 5): what clean windows and risk windows take.

CREATE TABLE risk_span AS
SELECT
    w.unit_id,
    w.outcome,
    w.window_name,
    w.patient_key,
    w.axis,
    greatest(
        w.lo,
        CASE w.axis
            WHEN 'day' THEN local_day_of(u.record_started_at, u.zone)
            ELSE u.record_started_at
        END
    ) AS from_at,
    w.cut_at
FROM unit_window AS w
JOIN unit AS u USING (unit_id);

-- What is lost, piece by piece, inside the span; pieces may overlap.
CREATE TABLE lost_time AS
SELECT
    s.unit_id,
    s.outcome,
    s.window_name,
    x.is_clean,
    greatest(x.lo, s.from_at) AS lo,
    least(x.hi, s.cut_at) AS hi
FROM (
    SELECT s.*, x.lo, x.hi, false AS is_clean
    FROM risk_span AS s
    JOIN lost_to_risk AS x USING (unit_id, outcome, window_name)
    UNION ALL
    SELECT s.*,
        CASE s.axis WHEN 'day' THEN e.onset_d + INTERVAL 1 DAY ELSE e.onset_i END,
        CASE s.axis WHEN 'day' THEN e.until_d + INTERVAL 1 DAY ELSE e.until_i END,
        true
    FROM risk_span AS s
    JOIN episode_span AS e
      ON e.patient_key = s.patient_key AND e.outcome = s.outcome AND e.keeps_clean
     AND coalesce(e.unit_id, s.unit_id) = s.unit_id
     AND coalesce(e.window_name, s.window_name) = s.window_name
) AS x
JOIN risk_span AS s USING (unit_id, outcome, window_name)
WHERE x.hi > s.from_at AND x.lo < s.cut_at;

-- How much of the span pieces cover together: each adds what no piece before it has covered.
CREATE MACRO covered(pieces) AS TABLE
SELECT unit_id, outcome, window_name, sum(epoch_us(hi) - epoch_us(new_lo)) AS us
FROM (
    SELECT *, greatest(lo, max(hi) OVER (
        PARTITION BY unit_id, outcome, window_name ORDER BY lo, hi
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )) AS new_lo
    FROM query_table(pieces)
    WHERE hi > lo
)
WHERE hi > new_lo
GROUP BY unit_id, outcome, window_name;

CREATE MACRO us_between(from_at, until_at) AS greatest(0, epoch_us(until_at) - epoch_us(from_at));

CREATE VIEW lost_unclean AS FROM lost_time WHERE NOT is_clean;

CREATE TABLE time_left AS
SELECT
    s.*,
    (us_between(s.from_at, s.cut_at) - coalesce(l.us, 0))::BIGINT AS at_risk_us,
    (us_between(s.from_at, s.cut_at) - coalesce(c.us, 0))::BIGINT AS uncleaned_us
FROM risk_span AS s
LEFT JOIN covered('lost_time') AS l USING (unit_id, outcome, window_name)
LEFT JOIN covered('lost_unclean') AS c USING (unit_id, outcome, window_name);
