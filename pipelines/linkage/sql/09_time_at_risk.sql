-- Time at risk (section 5): from the window's start, but not before the record's, to its cut, without
-- what clean windows and risk windows take (08_lost_time).
--
-- Three measures: up to the first event (by days, its day included); to the cut; and to the cut as if
-- there were no clean window.

CREATE TABLE span_to_event AS
SELECT s.*, least(
    s.cut_at,
    CASE s.axis WHEN 'day' THEN t.onset_axis + INTERVAL 1 DAY ELSE t.onset_axis END
) AS event_at
FROM time_left AS s
JOIN state AS t USING (unit_id, outcome, window_name);

CREATE VIEW lost_to_event AS
SELECT l.* REPLACE (least(l.hi, s.event_at) AS hi)
FROM lost_time AS l
JOIN span_to_event AS s USING (unit_id, outcome, window_name);

CREATE TABLE time_at_risk AS
SELECT
    s.unit_id,
    s.outcome,
    s.window_name,
    (us_between(s.from_at, s.event_at) - coalesce(l.us, 0))::BIGINT AS person_us,
    s.at_risk_us,
    s.uncleaned_us
FROM span_to_event AS s
LEFT JOIN covered('lost_to_event') AS l USING (unit_id, outcome, window_name);
