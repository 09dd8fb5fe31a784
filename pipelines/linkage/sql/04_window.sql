-- When windows are cut and closed, and what others take from them (sections 3, 4 and 6).
--
-- `latest`: a unit's windows are cut where the next unit that it competes with starts, so that every
-- event has one owner, the latest index at or before it; what is known to lie before that start on its
-- own date is still the earlier unit's. Death and the end of observation cut all. A window is closed when
-- every feed that its outcome reads is complete past its uncut end plus the feed's settle lag.

-- Is the feed complete up to the end? One row a unit, outcome and window of the simple outcomes;
-- composites close with their components.
CREATE TABLE feed_closure AS
SELECT
    w.unit_id,
    w.outcome,
    w.window_name,
    coalesce(bool_and(
        CASE
            WHEN t.data_through_at IS NULL THEN NOT r.is_required
            WHEN w.axis = 'day' THEN
                utc_to_local(t.data_through_at, w.zone) >= w.closing_hi + to_microseconds(r.lag_us)
            ELSE t.data_through_at >= w.closing_hi + to_microseconds(r.lag_us)
        END
    ), false)
    AND bool_or(t.data_through_at IS NOT NULL AND r.event_type <> 'InfusionRecorded') AS is_closed
FROM unit_window_span AS w
JOIN outcome_reads AS r USING (outcome)
LEFT JOIN data_through AS t ON t.site_id = w.site_id AND t.event_type = r.event_type
GROUP BY w.unit_id, w.outcome, w.window_name;

CREATE TABLE unit_window AS
SELECT
    s.* EXCLUDE (closing_hi, zone, next_cut, death_cut, observation_cut, is_merged, look_at),
    -- What was merged into an earlier unit's window holds nothing.
    CASE
        WHEN s.is_merged THEN s.lo
        ELSE least(s.hi, s.next_cut, s.death_cut, s.observation_cut)
    END AS cut_at,
    -- Up to where a window holds what lies before the next unit. One that is superseded holds nothing.
    CASE
        WHEN s.is_merged OR (s.axis = 'day' AND coalesce(s.next_day = s.index_day, false)) THEN s.lo
        ELSE least(s.hi, s.death_cut, s.observation_cut)
    END AS kept_until,
    CASE WHEN NOT s.is_merged THEN
        CASE least(s.hi, s.next_cut, s.death_cut, s.observation_cut)
            WHEN s.hi THEN NULL
            WHEN s.death_cut THEN 'death'
            WHEN s.next_cut THEN 'next_unit'
            ELSE 'observation_end'
        END
    END AS cut_reason,
    -- A window that ends before looks tell of the infusion (control) is watched from its own start.
    CASE WHEN s.look_at >= s.hi THEN s.lo ELSE greatest(s.lo, s.look_at) END AS observed_from,
    coalesce(f.is_closed, false) AS is_closed
FROM unit_window_span AS s
LEFT JOIN feed_closure AS f USING (unit_id, outcome, window_name);

-- A control window loses the time of every risk window, as cut, of the units that it competes with, its
-- own included; under `merge`, of those that may merge.
CREATE TABLE lost_to_risk AS
SELECT c.unit_id, c.outcome, c.window_name, r.lo, r.hi, r.risk_axis, r.risk_lo, r.risk_hi
FROM unit_window AS c
JOIN (
    -- Of a unit on the other axis: all days that share time with its window, or all their hours.
    SELECT
        w.patient_key,
        w.outcome,
        w.overlap_group,
        -- Events are compared where the risk window is, time where the control window is.
        w.axis AS risk_axis,
        w.lo AS risk_lo,
        w.cut_at AS risk_hi,
        a.axis,
        CASE
            WHEN w.axis = a.axis THEN w.lo
            WHEN a.axis = 'day' THEN local_day_of(w.lo, u.zone)
            ELSE local_to_utc(w.lo, u.zone, 0)
        END AS lo,
        CASE
            WHEN w.axis = a.axis THEN w.cut_at
            WHEN a.axis = 'day'
                THEN local_day_of(w.cut_at - INTERVAL 1 MICROSECOND, u.zone) + INTERVAL 1 DAY
            ELSE local_to_utc(w.cut_at, u.zone, 0)
        END AS hi
    FROM unit_window AS w
    JOIN unit AS u USING (unit_id)
    CROSS JOIN (VALUES ('instant'), ('day')) AS a(axis)
    WHERE w.window_name = 'risk' AND w.merged_into IS NULL AND w.cut_at > w.lo
      AND (w.overlap <> 'merge' OR w.may_merge)
) AS r
  ON r.patient_key = c.patient_key AND r.outcome = c.outcome AND r.overlap_group = c.overlap_group
 AND r.axis = c.axis
 -- A day of the control window may reach into a risk window that begins after it.
 AND r.lo < c.cut_at + INTERVAL 1 DAY AND r.hi > c.lo - INTERVAL 1 DAY
WHERE c.window_name = 'control';

-- Seen between six hours after the end and the window's end: a reading, a contact or a report. What
-- was not taken, or stands in a unit that nobody knows, is no reading.
CREATE TABLE sighting AS
SELECT patient_key, i_lo, i_hi, d_lo, d_hi FROM vital
SEMI JOIN analyte USING (concept, unit)
WHERE value IS NOT NULL
UNION ALL
SELECT patient_key, i_lo, i_hi, d_lo, d_hi FROM placed('raw_adverse_event')
UNION ALL
SELECT patient_key, i_lo, i_hi, d_lo, d_hi FROM diagnosis
SEMI JOIN outcome_report USING (concept)
UNION ALL
SELECT
    patient_key,
    i_lo,
    CASE WHEN ended_at > i_lo THEN ended_at ELSE i_hi END,
    d_lo,
    CASE
        WHEN ended_at > i_lo
            THEN local_day_of(ended_at, zone) + INTERVAL 1 DAY
        ELSE d_hi
    END
FROM encounter;

CREATE TABLE observed AS
SELECT DISTINCT w.unit_id, w.observed_from, w.cut_at
FROM (
    SELECT DISTINCT unit_id, patient_key, axis, observed_from, cut_at
    FROM unit_window
    WHERE kind IN ('symptom', 'fever', 'vital_limit') AND observed_from < cut_at
) AS w
JOIN sighting AS s
  ON s.patient_key = w.patient_key
 AND meets(w.axis, s.i_lo, s.i_hi, s.d_lo, s.d_hi, w.observed_from, w.cut_at);
