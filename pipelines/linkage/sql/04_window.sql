-- Windows, who owns them, when they are cut and when they are closed (sections 3, 4 and 6).
--
-- `latest`: a unit's windows are cut where the next unit of its class starts, so that every event
-- has one owner, the latest index at or before it. A window is closed when every feed that its
-- outcome reads has delivered past its uncut end plus the feed's settle lag.

CREATE TABLE unit_window_span AS
SELECT
    u.unit_id,
    u.patient_key,
    u.site_id,
    u.zone,
    u.drug_class,
    u.ordinal_in_record,
    u.age_months,
    u.axis,
    u.started_at,
    u.ended_at,
    u.index_day,
    u.end_day,
    u.next_day,
    u.next_cut,
    u.death_cut,
    u.observation_cut,
    u.is_tie,
    u.is_start_day,
    u.unplaceable_reason,
    u.ineligible_reason,
    o.outcome,
    o.kind,
    o.is_published,
    o.same_day,
    w.window_name,
    CASE u.axis
        WHEN 'day' THEN
            CASE w.start_anchor WHEN 'start' THEN u.index_day ELSE u.end_day END
            + to_days(w.start_days)
        ELSE
            CASE w.start_anchor WHEN 'start' THEN u.started_at ELSE u.ended_at END
            + to_microseconds(w.start_us)
    END AS lo,
    CASE u.axis
        WHEN 'day' THEN
            CASE w.end_anchor WHEN 'start' THEN u.index_day ELSE u.end_day END
            + to_days(w.end_days + 1)
        ELSE
            CASE w.end_anchor WHEN 'start' THEN u.started_at ELSE u.ended_at END
            + to_microseconds(w.end_us)
    END AS hi,
    -- A running infusion may go on: no window closes before its end, or its longest, is known.
    CASE u.axis
        WHEN 'day' THEN greatest(
            CASE w.end_anchor WHEN 'start' THEN u.index_day ELSE u.closing_end_day END
            + to_days(w.end_days + 1),
            CASE WHEN u.closing_end_at > u.ended_at THEN u.closing_end_day + INTERVAL 1 DAY END
        )
        ELSE greatest(
            CASE w.end_anchor WHEN 'start' THEN u.started_at ELSE u.closing_end_at END
            + to_microseconds(w.end_us),
            CASE WHEN u.closing_end_at > u.ended_at THEN u.closing_end_at END
        )
    END AS closing_hi
FROM unit AS u
JOIN study_outcome AS o ON list_contains(o.drug_classes, u.drug_class)
JOIN outcome_window AS w USING (outcome);

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
    s.* EXCLUDE (closing_hi, zone, next_cut, death_cut, observation_cut),
    least(s.hi, s.next_cut, s.death_cut, s.observation_cut) AS cut_at,
    CASE least(s.hi, s.next_cut, s.death_cut, s.observation_cut)
        WHEN s.hi THEN NULL
        WHEN s.death_cut THEN 'death'
        WHEN s.next_cut THEN 'next_unit'
        ELSE 'observation_end'
    END AS cut_reason,
    coalesce(f.is_closed, false) AS is_closed
FROM unit_window_span AS s
LEFT JOIN feed_closure AS f USING (unit_id, outcome, window_name);

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

CREATE TABLE observed_span AS
SELECT DISTINCT
    unit_id,
    patient_key,
    axis,
    greatest(
        lo,
        CASE axis WHEN 'day' THEN end_day + INTERVAL 1 DAY ELSE ended_at + INTERVAL 6 HOUR END
    ) AS from_at,
    cut_at
FROM unit_window
WHERE kind IN ('symptom', 'fever', 'vital_limit');

CREATE TABLE observed AS
SELECT DISTINCT w.unit_id, w.from_at, w.cut_at
FROM observed_span AS w
JOIN sighting AS s
  ON s.patient_key = w.patient_key
 AND meets(w.axis, s.i_lo, s.i_hi, s.d_lo, s.d_hi, w.from_at, w.cut_at);
