-- The linked rows: infusions, units, outcomes with their status.
--
-- A status says in one word which denominators a unit enters (docs/windows.md, section 10).

CREATE TABLE out_infusion AS
SELECT
    s.study_id,
    m.site_id,
    m.infusion_key,
    m.unit_id,
    m.patient_key,
    m.drug,
    m.started_at,
    m.ended_at,
    date_diff('day', min(m.first_day) OVER (PARTITION BY m.patient_key), m.first_day)
        AS day_in_record,
    CASE WHEN m.is_day_precision THEN 'day' ELSE 'instant' END AS time_precision,
    m.status,
    m.evidence,
    m.route,
    m.dose_value,
    m.dose_unit,
    m.n_records,
    m.record_keys,
    list_concat(
        list_filter(
            [
                CASE WHEN m.is_end_missing THEN 'end_missing' END,
                CASE WHEN m.is_running THEN 'in_progress' END,
                CASE WHEN m.n_records > 1 THEN 'merged_records' END,
                CASE WHEN m.is_dispensed_undated THEN 'dispensed_undated' END,
                CASE WHEN m.is_interrupted THEN 'interrupted' END
            ],
            lambda flag: flag IS NOT NULL
        ),
        m.source_flags
    ) AS flags
FROM unit_member AS m
CROSS JOIN setting AS s;

CREATE TABLE out_course AS
SELECT
    s.study_id,
    u.site_id,
    u.unit_id,
    u.patient_key,
    u.drug,
    u.started_at,
    u.ended_at,
    u.index_day::DATE AS index_date,
    date_diff('day', min(u.index_day) OVER (PARTITION BY u.patient_key), u.index_day)
        AS day_in_record,
    u.n_infusions,
    u.ordinal_in_record,
    u.is_naive,
    u.not_counted_reason IS NULL AS is_eligible,
    u.not_counted_reason AS ineligible_reason,
    u.age_months,
    u.age_band,
    coalesce(u.sex, 'unknown') AS sex,
    u.setting,
    coalesce(u.indication_type, 'unknown') AS indication_type,
    u.premedicated,
    u.co_infusion,
    u.evidence,
    u.calendar_quarter,
    u.record_started_at,
    least(u.died_at, u.observation_end_at, u.contact_end_at) AS follow_up_ended_at,
    CASE least(u.died_at, u.observation_end_at, u.contact_end_at)
        WHEN u.died_at THEN 'death'
        WHEN u.observation_end_at THEN 'observation_end'
        WHEN u.contact_end_at THEN 'last_contact'
    END AS follow_up_end_reason,
    list_concat(u.flags, CASE WHEN u.is_tie THEN ['tie'] ELSE [] END) AS flags
FROM unit AS u
CROSS JOIN setting AS s;

-- In how many uncut windows of the class, or classes, the onset lies.
CREATE TABLE candidate_count AS
WITH onset AS (
    SELECT
        h.unit_id,
        h.outcome,
        h.window_name,
        w.patient_key,
        w.overlap_group,
        h.onset_at AS i_lo,
        local_day_of(h.onset_at, u.zone) AS d_lo,
        -- A unit placed by days forgets the hour of its onset, and so does a result that is known by
        -- its issue; the onset itself does not.
        CASE
            WHEN h.onset_precision = 'day' AND h.onset_at = local_to_utc(d_lo, u.zone, 0)
            THEN local_to_utc(d_lo + INTERVAL 1 DAY, u.zone, 0)
            ELSE h.onset_at + INTERVAL 1 MICROSECOND
        END AS i_hi
    FROM state AS h
    JOIN unit_window AS w USING (unit_id, outcome, window_name)
    JOIN unit AS u USING (unit_id)
    WHERE h.is_low AND h.onset_at IS NOT NULL
)
SELECT h.unit_id, h.outcome, h.window_name, count(DISTINCT w.unit_id) AS n_candidate_units
FROM onset AS h
JOIN unit_window AS w
  ON w.patient_key = h.patient_key AND w.overlap_group = h.overlap_group
 AND w.outcome = h.outcome AND w.window_name = h.window_name
 AND meets(w.axis, h.i_lo, h.i_hi, h.d_lo, h.d_lo + INTERVAL 1 DAY, w.own_lo, w.own_hi)
GROUP BY h.unit_id, h.outcome, h.window_name;

CREATE TABLE out_unit_outcome AS
SELECT
    s.study_id,
    w.site_id,
    w.unit_id,
    w.patient_key,
    w.outcome,
    w.window_name,
    w.is_published,
    CASE
        WHEN w.unplaceable_reason IS NOT NULL THEN 'unplaceable'
        WHEN w.ineligible_reason IS NOT NULL THEN 'ineligible'
        WHEN w.merged_into IS NOT NULL THEN 'merged'
        WHEN w.axis = 'day' AND w.next_day = w.index_day THEN 'superseded_same_day'
        WHEN a.at_risk_us = 0 AND NOT t.is_low THEN 'not_at_risk'
        WHEN NOT t.is_closed THEN CASE WHEN t.is_low THEN 'open_event' ELSE 'open' END
        WHEN t.is_low THEN 'event'
        WHEN w.cut_reason IN ('next_unit', 'observation_end') THEN 'censored'
        WHEN t.is_tested = false THEN 'untested'
        WHEN t.is_observed = false THEN 'unobserved'
        WHEN w.kind = 'composite' AND t.is_high THEN 'undetermined'
        ELSE 'no_event'
    END AS status,
    -- Day windows end with a day; the bounds are local dates there, instants otherwise.
    w.lo AS window_start_at,
    w.hi AS window_end_at,
    w.cut_at,
    w.cut_reason,
    t.is_closed,
    w.unplaceable_reason IS NULL AND w.ineligible_reason IS NULL AND a.at_risk_us > 0 AS is_at_risk,
    t.is_tested,
    t.is_observed,
    CASE WHEN w.kind = 'composite' THEN t.is_low OR NOT t.is_high END AS is_determined,
    t.has_baseline,
    t.onset_at,
    CASE WHEN t.onset_precision = 'instant' AND w.axis = 'instant'
         THEN (epoch_us(t.onset_at) - epoch_us(w.started_at)) / 3600e6 END AS onset_hours,
    t.onset_precision,
    -- Whatever the axis, dates are compared: an onset known by its day has one.
    date_diff('day', w.index_day, local_day_of(t.onset_at, u.zone)) AS onset_day,
    date_diff('day', w.index_day, CASE w.axis
        WHEN 'day' THEN w.cut_at - INTERVAL 1 DAY
        ELSE local_day_of(w.cut_at - INTERVAL 1 MICROSECOND, u.zone)
    END) AS last_day,
    t.grade,
    b.grade AS baseline_grade,
    b.value AS baseline_value,
    b.unit AS baseline_unit,
    b.i_lo AS baseline_at,
    l.worst_value,
    l.worst_unit,
    l.worst_at,
    round(l.worst_canonical - b.canonical_value, 6) AS change_from_baseline,
    a.person_us,
    c.n_candidate_units,
    t.is_worsened,
    t.is_pre_existing,
    -- Laboratory outcomes and composites have one event at most.
    CASE WHEN w.kind IN ('symptom', 'fever', 'vital_limit')
         THEN coalesce(e.n_events, 0) + coalesce(m.n_events, 0)
         ELSE t.is_low::BIGINT END AS n_events,
    CASE WHEN w.kind IN ('symptom', 'fever', 'vital_limit')
         THEN coalesce(e.n_events_uncleaned, 0) + coalesce(m.n_events, 0)
         ELSE t.is_low::BIGINT END AS n_events_uncleaned,
    a.at_risk_us / 86400e6 AS at_risk_days,
    a.uncleaned_us / 86400e6 AS at_risk_days_uncleaned,
    r.is_serious,
    r.serious_criteria,
    r.is_treated,
    r.has_remedy,
    r.remedy_after_hours,
    l.measure,
    b.measure AS baseline_measure,
    list_concat(
        t.flags,
        list_filter(
            [
                CASE WHEN w.is_tie THEN 'tie' END,
                CASE
                    WHEN w.axis = 'day' AND s.resolution = 'instant' THEN 'day_resolution'
                END
            ],
            lambda flag: flag IS NOT NULL
        )
    ) AS flags
FROM unit_window AS w
CROSS JOIN setting AS s
JOIN (SELECT unit_id, zone FROM unit) AS u USING (unit_id)
JOIN state AS t USING (unit_id, outcome, window_name)
JOIN time_at_risk AS a USING (unit_id, outcome, window_name)
LEFT JOIN episode_count AS e USING (unit_id, outcome, window_name)
LEFT JOIN undated_hit AS m USING (unit_id, outcome, window_name)
LEFT JOIN lab_baseline AS b USING (unit_id, outcome, window_name)
LEFT JOIN lab_result AS l USING (unit_id, outcome, window_name)
LEFT JOIN candidate_count AS c USING (unit_id, outcome, window_name)
LEFT JOIN serious AS r USING (unit_id, outcome, window_name);
