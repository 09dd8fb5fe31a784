-- Seriousness and treatment of every event (docs/windows.md, section 9).
--
-- An event is serious for what follows its onset inside the uncut window: death, an unplanned
-- admission, lasting harm, a listed event; for its grade; for a planned stay that grew long; or
-- because the reporter says so. It is treated where a remedy of the outcome begins, or its dose is
-- raised, soon after the onset. Where either time is known by its day, dates are compared.

-- Every event with its onset on both axes; one without an onset counts from the window's start.
CREATE TABLE event_onset AS
SELECT
    t.unit_id,
    t.outcome,
    t.window_name,
    t.grade,
    w.patient_key,
    u.drug_class,
    w.axis,
    w.hi,
    w.axis = 'day' OR coalesce(t.onset_precision = 'day', false) AS is_day,
    -- What is known by its hour and lies before the infusion's own comes before any onset, but in a
    -- window that begins before it, too.
    CASE
        WHEN NOT u.is_start_day
            AND w.lo >= CASE w.axis WHEN 'day' THEN w.index_day ELSE w.started_at END
        THEN u.started_at
    END AS begin_i,
    CASE WHEN t.onset_at IS NOT NULL OR w.axis = 'instant' THEN coalesce(t.onset_at, w.lo) END
        AS onset_i,
    CASE WHEN t.onset_at IS NULL AND w.axis = 'day' THEN w.lo
         ELSE local_day_of(coalesce(t.onset_at, w.lo), u.zone) END AS onset_d,
    t.onset_at IS NOT NULL AS has_onset
FROM state AS t
JOIN unit_window AS w USING (unit_id, outcome, window_name)
JOIN unit AS u USING (unit_id)
WHERE t.is_low;

CREATE MACRO is_from_onset(by_day, i_lo, d_lo, onset_i, onset_d) AS
    CASE WHEN by_day THEN d_lo >= onset_d ELSE i_lo >= onset_i END;

CREATE MACRO is_after_begin(is_day, i_lo, begin_i) AS
    is_day OR coalesce(i_lo >= begin_i, true);

CREATE MACRO is_before_end(axis, i_lo, d_lo, hi) AS
    CASE axis WHEN 'day' THEN d_lo < hi ELSE i_lo < hi END;

-- Death told as midnight is known by its day.
CREATE TABLE death AS
SELECT DISTINCT
    u.patient_key,
    u.died_at AS i_lo,
    local_day_of(u.died_at, u.zone) AS d_lo,
    utc_to_local(u.died_at, u.zone) = local_day_of(u.died_at, u.zone) AS is_day
FROM unit AS u
WHERE u.died_at IS NOT NULL;

-- Stays of patients with an event. One without an end holds its first date and no more.
CREATE TABLE stay AS
SELECT
    record_key,
    patient_key,
    setting,
    coalesce(admission_type = 'elective', false) AS is_elective,
    time_precision = 'day' AS is_day,
    i_lo,
    coalesce(ended_at, local_to_utc(d_lo + INTERVAL 1 DAY, zone, 0)) AS i_end,
    d_lo,
    CASE WHEN ended_at IS NULL THEN d_lo ELSE last_day END AS d_last,
    -- How long it lasted: by its dates where no more is known of it.
    CASE WHEN ended_at IS NOT NULL THEN
        CASE time_precision
            WHEN 'day' THEN epoch_us(last_day) - epoch_us(d_lo)
            ELSE epoch_us(ended_at) - epoch_us(i_lo)
        END
    END AS length_us
FROM encounter
SEMI JOIN event_onset USING (patient_key);

CREATE MACRO is_held(by_day, i_lo, i_end, d_lo, d_last, at_i, at_d) AS
    CASE WHEN by_day THEN at_d BETWEEN d_lo AND d_last ELSE at_i >= i_lo AND at_i < i_end END;

-- Stays in which an administration of the class begins: the next one's stay is planned, too.
CREATE TABLE stay_of_class AS
SELECT DISTINCT m.drug_class, s.record_key
FROM unit_member AS m
JOIN stay AS s
  ON s.patient_key = m.patient_key
 AND is_held(
        s.is_day OR m.is_day_precision, s.i_lo, s.i_end, s.d_lo, s.d_last, m.started_at, m.first_day
     );

CREATE TABLE event_stay AS
SELECT
    e.unit_id,
    e.outcome,
    e.window_name,
    s.setting,
    s.length_us,
    s.is_elective OR p.record_key IS NOT NULL AS is_planned,
    is_from_onset(e.is_day OR s.is_day, s.i_lo, s.d_lo, e.onset_i, e.onset_d)
        AND is_after_begin(s.is_day, s.i_lo, e.begin_i)
        AND is_before_end(e.axis, s.i_lo, s.d_lo, e.hi) AS is_after,
    is_held(e.is_day OR s.is_day, s.i_lo, s.i_end, s.d_lo, s.d_last, e.onset_i, e.onset_d)
        AS holds_onset
FROM event_onset AS e
JOIN stay AS s USING (patient_key)
LEFT JOIN stay_of_class AS p
  ON p.drug_class = e.drug_class AND p.record_key = s.record_key;

-- Listed harm, as a report or as a diagnosis.
CREATE TABLE listed_harm AS
SELECT t.patient_key, c.criterion, t.time_precision = 'day' AS is_day, t.i_lo, t.d_lo
FROM (
    SELECT patient_key, concept, time_precision, i_lo, d_lo FROM report_told
    UNION ALL SELECT patient_key, concept, time_precision, i_lo, d_lo FROM diagnosis_told
) AS t
JOIN serious_concept AS c USING (concept);

CREATE TABLE serious_sign AS
SELECT e.unit_id, e.outcome, e.window_name, 'death' AS criterion
FROM event_onset AS e
JOIN death AS x USING (patient_key)
WHERE is_from_onset(e.is_day OR x.is_day, x.i_lo, x.d_lo, e.onset_i, e.onset_d)
  AND is_before_end(e.axis, x.i_lo, x.d_lo, e.hi)
UNION ALL
SELECT unit_id, outcome, window_name, 'life_threatening'
FROM event_onset
WHERE grade >= (SELECT life_threatening_grade FROM setting)
UNION ALL
SELECT unit_id, outcome, window_name, 'hospitalisation'
FROM event_stay
WHERE setting IN ('emergency', 'inpatient') AND is_after AND NOT is_planned
UNION ALL
SELECT s.unit_id, s.outcome, s.window_name, 'prolonged_stay'
FROM event_stay AS s
JOIN expected_stay AS x USING (setting)
WHERE s.is_planned AND s.holds_onset
  AND s.length_us > x.stay_us + (SELECT stay_excess_us FROM setting)
UNION ALL
SELECT e.unit_id, e.outcome, e.window_name, x.criterion
FROM event_onset AS e
JOIN listed_harm AS x USING (patient_key)
WHERE is_from_onset(e.is_day OR x.is_day, x.i_lo, x.d_lo, e.onset_i, e.onset_d)
  AND is_after_begin(x.is_day, x.i_lo, e.begin_i)
  AND is_before_end(e.axis, x.i_lo, x.d_lo, e.hi)
UNION ALL
SELECT v.unit_id, v.outcome, v.window_name, 'reported'
FROM out_evidence AS v
SEMI JOIN (FROM raw_adverse_event WHERE is_serious) AS r USING (record_key)
WHERE v.is_counted AND v.event_type = 'AdverseEventReported';

-- Doses of remedies. An ordered infusion lasts as long as its order; what lasts no time ends where
-- it begins.
CREATE TABLE remedy AS
SELECT
    d.patient_key,
    d.concept,
    d.is_given,
    d.time_precision = 'day' AS is_day,
    d.i_lo,
    greatest(d.i_lo, d.ended_at) AS i_last,
    d.d_lo,
    greatest(d.d_lo, local_day_of(d.ended_at, d.zone)) AS d_last,
    d.dose_value,
    d.dose_unit
FROM (
    SELECT patient_key, concept, true AS is_given, time_precision, i_lo, d_lo, ended_at, zone,
        dose_value, dose_unit
    FROM medication
    UNION ALL
    SELECT patient_key, concept, evidence = 'administered', time_precision, i_lo, d_lo, ended_at,
        zone, dose_value, dose_unit
    FROM placed('infusion_event')
    WHERE evidence IN ('administered', 'ordered') AND is_in_force(evidence, status)
) AS d
SEMI JOIN outcome_remedy AS r ON r.concept = d.concept
SEMI JOIN event_onset AS e ON e.patient_key = d.patient_key;

CREATE TABLE event_remedy AS
SELECT
    e.unit_id,
    e.outcome,
    e.window_name,
    m.concept,
    m.dose_value,
    m.dose_unit,
    is_from_onset(e.is_day OR m.is_day, m.i_lo, m.d_lo, e.onset_i, e.onset_d)
        AND is_after_begin(m.is_day, m.i_lo, e.begin_i) AS is_from_begin,
    m.is_given AND is_from_begin
        AND CASE WHEN e.is_day OR m.is_day THEN m.d_lo <= e.onset_d + to_days(s.treatment_gap_days)
            ELSE m.i_lo <= e.onset_i + to_microseconds(s.treatment_gap_us) END AS is_after,
    NOT is_from_begin
        AND CASE WHEN e.is_day OR m.is_day
            THEN m.d_last >= e.onset_d - to_days(s.treatment_lookback_days)
            ELSE m.i_last >= e.onset_i - to_microseconds(s.treatment_lookback_us) END AS is_before,
    CASE WHEN e.has_onset AND NOT e.is_day AND NOT m.is_day
         THEN (epoch_us(m.i_lo) - epoch_us(e.onset_i)) / 3600e6 END AS after_hours
FROM event_onset AS e
JOIN outcome_remedy AS r USING (outcome)
JOIN remedy AS m ON m.patient_key = e.patient_key AND m.concept = r.concept
CROSS JOIN setting AS s;

-- What was known of each remedy shortly before the onset, and whether a later dose begins or raises.
CREATE TABLE treated AS
WITH before AS (
    SELECT
        unit_id, outcome, window_name, concept,
        max(dose_value) AS dose_value,
        any_value(dose_unit) AS dose_unit,
        count(*) = count(dose_value) AND count(*) = count(dose_unit)
            AND count(DISTINCT dose_unit) = 1 AS is_dose_known
    FROM event_remedy
    WHERE is_before
    GROUP BY unit_id, outcome, window_name, concept
)
SELECT DISTINCT a.unit_id, a.outcome, a.window_name
FROM event_remedy AS a
LEFT JOIN before AS b USING (unit_id, outcome, window_name, concept)
WHERE a.is_after
  AND (
    b.unit_id IS NULL
    OR (b.is_dose_known AND a.dose_unit = b.dose_unit AND a.dose_value > b.dose_value)
  );

-- Doses soon after the onset, begun for the event or not. Which was the first is not known where one
-- of them has no time of day.
CREATE TABLE given_after AS
SELECT
    unit_id,
    outcome,
    window_name,
    CASE WHEN count(*) = count(after_hours) THEN min(after_hours) END AS after_hours
FROM event_remedy
WHERE is_after
GROUP BY unit_id, outcome, window_name;

-- One row an event; others are neither serious nor treated.
CREATE TABLE serious AS
SELECT
    e.unit_id,
    e.outcome,
    e.window_name,
    c.unit_id IS NOT NULL AS is_serious,
    coalesce(c.serious_criteria, []) AS serious_criteria,
    CASE WHEN e.outcome IN (SELECT outcome FROM outcome_remedy) THEN t.unit_id IS NOT NULL END
        AS is_treated,
    CASE WHEN e.outcome IN (SELECT outcome FROM outcome_remedy) THEN g.unit_id IS NOT NULL END
        AS has_remedy,
    g.after_hours AS remedy_after_hours
FROM event_onset AS e
LEFT JOIN (
    SELECT unit_id, outcome, window_name, list_sort(list(DISTINCT criterion)) AS serious_criteria
    FROM serious_sign
    GROUP BY unit_id, outcome, window_name
) AS c USING (unit_id, outcome, window_name)
LEFT JOIN treated AS t USING (unit_id, outcome, window_name)
LEFT JOIN given_after AS g USING (unit_id, outcome, window_name);
