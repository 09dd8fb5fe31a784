-- Heart and breathing rate above the limit of the age (section 8).
--
-- Two readings in the window, both above the age band's awake limit, at least `confirm` apart, the
-- first at least `settle` after the start, and each enough above the child's own last reading
-- before the start (where there is one). Without an age there is no limit and nothing is observed.

CREATE TABLE rate_reading AS
SELECT v.*, o.outcome, v.value * a.to_canonical_factor + a.to_canonical_offset AS rate
FROM vital AS v
JOIN study_outcome AS o ON o.kind = 'vital_limit' AND o.concept = v.concept
JOIN analyte AS a ON a.concept = v.concept AND a.unit = v.unit
WHERE v.value IS NOT NULL AND v.time_precision = 'instant';

CREATE TABLE rate_unit AS
SELECT DISTINCT w.unit_id, w.patient_key, w.outcome, w.started_at, l.high, l.high IS NULL AS no_limit
FROM unit_window AS w
LEFT JOIN vital_limit_table AS l
  ON l.outcome = w.outcome AND w.age_months >= l.from_months AND w.age_months < l.until_months
WHERE w.kind = 'vital_limit';

CREATE TABLE rate_own AS
SELECT
    u.unit_id,
    u.outcome,
    arg_max(r.rate, (r.i_lo, r.rate)) AS own_rate,
    arg_max(r.record_key, (r.i_lo, r.rate)) AS own_key
FROM rate_unit AS u
JOIN rate_reading AS r
  ON r.patient_key = u.patient_key AND r.outcome = u.outcome AND r.i_lo < u.started_at
GROUP BY u.unit_id, u.outcome;

CREATE TABLE rate_high AS
SELECT w.unit_id, w.window_name, w.axis, w.lo, r.*, u.high, b.own_rate
FROM unit_window AS w
JOIN rate_unit AS u ON u.unit_id = w.unit_id AND u.outcome = w.outcome
JOIN study_outcome AS o ON o.outcome = w.outcome
JOIN rate_reading AS r
  ON r.patient_key = w.patient_key AND r.outcome = w.outcome
 AND meets(w.axis, r.i_lo, r.i_hi, r.d_lo, r.d_hi, w.lo, w.cut_at)
LEFT JOIN rate_own AS b ON b.unit_id = w.unit_id AND b.outcome = w.outcome
WHERE r.rate > u.high
  AND r.i_lo >= w.started_at + to_microseconds(o.settle_us)
  -- Where the start is known by its day, no reading of that day is known to follow it.
  AND NOT (w.is_start_day AND r.d_lo = w.index_day)
  AND (b.own_rate IS NULL OR round(r.rate, 6) >= round(b.own_rate * o.rise_factor, 6));

CREATE TABLE rate_confirmed AS
SELECT
    h.unit_id,
    h.outcome,
    h.window_name,
    min(h.i_lo) AS onset_at,
    CASE WHEN any_value(h.axis) = 'day' THEN 'day' ELSE 'instant' END AS onset_precision,
    min(greatest(h.lo, CASE h.axis WHEN 'day' THEN h.d_lo ELSE h.i_lo END)) AS onset_axis
FROM rate_high AS h
JOIN study_outcome AS o USING (outcome)
GROUP BY h.unit_id, h.outcome, h.window_name
HAVING max(h.i_lo) - min(h.i_lo) >= to_microseconds(any_value(o.confirm_us));

-- A report before the window that the readings follow within the gap began the event: one event,
-- and not a new one. Reports inside the window carry it on.
CREATE TABLE rate_carried_on AS
SELECT c.unit_id, c.outcome, c.window_name
FROM rate_confirmed AS c
JOIN study_outcome AS o USING (outcome)
JOIN piece_counted AS p
  ON p.unit_id = c.unit_id AND p.outcome = c.outcome AND p.window_name = c.window_name
 AND p.i_lo <= c.onset_at
GROUP BY c.unit_id, c.outcome, c.window_name, c.onset_at, p.episode
HAVING bool_or(p.is_before AND NOT p.is_in)
   AND c.onset_at <= max(greatest(
        CASE p.time_precision WHEN 'day' THEN p.i_hi ELSE p.i_lo END, p.ended_at
   )) + to_microseconds(any_value(o.gap_us));

CREATE TABLE rate_hit AS
FROM rate_confirmed
ANTI JOIN rate_carried_on USING (unit_id, outcome, window_name);
