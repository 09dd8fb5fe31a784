-- When windows are cut and closed, and what others take from them (sections 3, 4 and 6).
--
-- `latest`: a unit's windows are cut where the next unit that it competes with starts, so that every
-- event has one owner, the latest index at or before it. Death and the end of observation cut all. A
-- window is closed when every feed that its outcome reads has delivered past its uncut end plus the
-- feed's settle lag; a quiet feed closes none.

-- Is the feed complete up to the end? One row a unit, outcome and window of the simple outcomes;
-- composites close with their components.
CREATE TABLE feed_closure AS
SELECT
    w.unit_id,
    w.outcome,
    w.window_name,
    coalesce(bool_and(
        CASE
            WHEN q.event_type IS NOT NULL THEN false
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
LEFT JOIN quiet_feed AS q ON q.site_id = w.site_id AND q.event_type = r.event_type
GROUP BY w.unit_id, w.outcome, w.window_name;

CREATE TABLE unit_window AS
SELECT
    s.* EXCLUDE (closing_hi, zone, next_cut, death_cut, observation_cut, is_merged, look_at),
    -- What was merged into an earlier unit's window holds nothing.
    CASE
        WHEN s.is_merged THEN s.lo
        ELSE least(s.hi, s.next_cut, s.death_cut, s.observation_cut)
    END AS cut_at,
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

-- Under `merge` a control window loses the time of every risk window that may merge.
CREATE TABLE lost_to_risk AS
SELECT c.unit_id, c.outcome, c.window_name, r.lo, r.hi
FROM unit_window AS c
JOIN unit_window AS r
  ON r.patient_key = c.patient_key AND r.outcome = c.outcome AND r.overlap_group = c.overlap_group
 AND r.lo < c.cut_at AND r.hi > c.lo
WHERE c.overlap = 'merge' AND c.window_name = 'control'
  AND r.overlap = 'merge' AND r.window_name = 'risk'
  AND r.may_merge AND r.merged_into IS NULL AND r.hi > r.lo;

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
