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
SELECT DISTINCT w.unit_id, w.patient_key, w.outcome, w.begin_at, l.high, l.high IS NULL AS no_limit
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
  ON r.patient_key = u.patient_key AND r.outcome = u.outcome AND r.i_lo < u.begin_at
GROUP BY u.unit_id, u.outcome;

CREATE TABLE rate_high AS
SELECT w.unit_id, w.window_name, w.axis, w.lo, r.*, u.high, b.own_rate
FROM unit_window AS w
JOIN rate_unit AS u ON u.unit_id = w.unit_id AND u.outcome = w.outcome
JOIN study_outcome AS o ON o.outcome = w.outcome
JOIN rate_reading AS r
  ON r.patient_key = w.patient_key AND r.outcome = w.outcome
 AND meets(w.axis, r.i_lo, r.i_hi, r.d_lo, r.d_hi, w.lo, w.kept_until)
LEFT JOIN rate_own AS b ON b.unit_id = w.unit_id AND b.outcome = w.outcome
WHERE r.rate > u.high
  AND r.i_lo >= w.begin_at + to_microseconds(o.settle_us)
  -- Where the start is known by its day, no reading of that day is known to follow it.
  AND NOT (w.is_start_day AND r.d_lo = w.index_day)
  AND (w.next_day IS NULL OR side_of(
        w.same_day, w.is_next_start_day, w.next_day, w.next_begin_at, r.time_precision, r.i_lo, r.d_lo
      ) = 'before')
  AND NOT EXISTS (
    FROM lost_to_risk AS x
    WHERE x.unit_id = w.unit_id AND x.outcome = w.outcome AND x.window_name = w.window_name
      AND meets(x.risk_axis, r.i_lo, r.i_hi, r.d_lo, r.d_hi, x.risk_lo, x.risk_hi)
  )
  AND (b.own_rate IS NULL OR round(r.rate, 6) >= round(b.own_rate * o.rise_factor, 6));

-- What the rule admits, window by window: evidence of the outcome, beside reports and codes.
CREATE TABLE rate_confirmed AS
SELECT h.*
FROM (
    SELECT *, min(i_lo) OVER one AS first_at, max(i_lo) OVER one AS last_at
    FROM rate_high
    WINDOW one AS (PARTITION BY unit_id, outcome, window_name)
) AS h
JOIN study_outcome AS o USING (outcome)
WHERE greatest(h.i_lo - h.first_at, h.last_at - h.i_lo) >= to_microseconds(o.confirm_us);
