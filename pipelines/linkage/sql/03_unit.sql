-- Courses and units: ordinal, naive, eligible, strata (docs/windows.md, section 2).
--
-- A course is a maximal run of administrations of one drug, each starting at most the course gap
-- after the one before ended. Everything about a unit is fixed at its index start from facts dated
-- at or before it.

CREATE TABLE unit_member AS
WITH marked AS (
    SELECT
        *,
        -- Days are compared as days, where either is only a day: four of them may be 97 hours where
        -- the clock changes.
        CASE WHEN is_day_precision THEN coalesce(
            first_day > max(last_day) OVER earlier + to_microseconds(course_gap_us), true
        )
        ELSE coalesce(
            started_at > max(ended_at) FILTER (WHERE NOT is_day_precision) OVER earlier
                + to_microseconds(course_gap_us),
            true
        ) AND coalesce(
            first_day > max(last_day) FILTER (WHERE is_day_precision) OVER earlier
                + to_microseconds(course_gap_us),
            true
        ) END OR (SELECT unit FROM setting) = 'administration' AS is_new
    FROM administration
    WINDOW earlier AS (
        PARTITION BY patient_key, drug ORDER BY started_at, ended_at, infusion_key
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
numbered AS (
    SELECT *, sum(is_new::INTEGER) OVER (
        PARTITION BY patient_key, drug ORDER BY started_at, ended_at, infusion_key
        ROWS UNBOUNDED PRECEDING
    ) AS course_number
    FROM marked
)
SELECT *, first_value(infusion_key) OVER (
    PARTITION BY patient_key, drug, course_number ORDER BY started_at, ended_at, infusion_key
) AS unit_id
FROM numbered;

CREATE TABLE unit_span AS
SELECT
    unit_id,
    patient_key,
    drug,
    drug_class,
    min(site_id) AS site_id,
    arg_min(zone, (started_at, infusion_key)) AS zone,
    min(started_at) AS started_at,
    max(ended_at) AS ended_at,
    max(ended_at) + CASE
        WHEN bool_or(is_running) THEN to_microseconds((SELECT max_infusion_us FROM setting))
        ELSE INTERVAL 0 MICROSECOND
    END AS closing_end_at,
    count(*) AS n_infusions,
    min(evidence) AS evidence,
    arg_min(encounter_key, (started_at, infusion_key)) AS encounter_key,
    CASE
        WHEN (SELECT resolution FROM setting) = 'day' OR bool_or(is_day_precision) THEN 'day'
        ELSE 'instant'
    END AS axis,
    arg_min(is_day_precision, (started_at, infusion_key)) AS is_start_day,
    list_filter(
        [
            CASE WHEN bool_or(is_end_missing) THEN 'end_missing' END,
            CASE WHEN bool_or(is_running) THEN 'in_progress' END,
            CASE WHEN bool_or(is_day_precision) THEN 'day_precision' END,
            CASE WHEN bool_or(n_records > 1) THEN 'merged_records' END,
            CASE WHEN bool_or(is_dispensed_undated) THEN 'dispensed_undated' END,
            CASE WHEN bool_or(is_interrupted) THEN 'interrupted' END
        ],
        lambda flag: flag IS NOT NULL
    ) AS flags
FROM unit_member
GROUP BY unit_id, patient_key, drug, drug_class;

-- Who comes next owns what follows. Equal starts: the later end, then the smaller id, owns, and so
-- comes last in this order.
CREATE TABLE unit_order AS
SELECT
    s.*,
    local_day_of(s.started_at, s.zone) AS index_day,
    local_day_of(s.ended_at, s.zone) AS end_day,
    local_day_of(s.closing_end_at, s.zone) AS closing_end_day,
    row_number() OVER in_class AS ordinal_in_record,
    lead(s.started_at) OVER in_class AS next_started_at,
    lead(s.started_at) OVER in_class = s.started_at AS is_tie
FROM unit_span AS s
WINDOW in_class AS (
    PARTITION BY s.patient_key, s.drug_class ORDER BY s.started_at, s.ended_at, s.unit_id DESC
);

-- An order does not show that anything was given.
CREATE MACRO shows_exposure(evidence, status) AS
    is_in_force(evidence, status) AND evidence IS DISTINCT FROM 'ordered';

-- Neither an order nor what is said of a drug shows that anybody was there.
CREATE MACRO was_supplied(evidence, status) AS
    shows_exposure(evidence, status) AND evidence IS DISTINCT FROM 'stated';

CREATE TABLE record_start AS
SELECT patient_key, min(occurred_at) AS record_started_at
FROM (
    SELECT patient_key, occurred_at FROM encounter
    UNION ALL
    SELECT patient_key, occurred_at FROM raw_infusion
    WHERE time_precision IN ('instant', 'day') AND was_supplied(evidence, status)
)
WHERE occurred_at IS NOT NULL
GROUP BY patient_key;

-- Signs of earlier exposure: listed drugs by any road, listed diagnoses, infusions that don't count.
CREATE TABLE exposure_sign AS
SELECT
    patient_key,
    drug_class,
    occurred_at,
    first_day(occurred_at, time_precision, zone) AS first_day,
    day_after(occurred_at, time_precision, zone) AS day_after
FROM (
    -- Listed drugs and diagnoses are signs for every class, study drugs for their own.
    SELECT patient_key, NULL AS drug_class, occurred_at, time_precision, zone
    FROM medication_event SEMI JOIN prior_concept USING (concept)
    UNION ALL
    SELECT patient_key, NULL, occurred_at, time_precision, zone
    FROM diagnosis_event SEMI JOIN prior_concept USING (concept)
    UNION ALL
    -- An order alone shows no exposure, and a dispense that an administration covers none but that
    -- one's: both may belong to the very infusion that is judged, and stand before it.
    SELECT patient_key, NULL, occurred_at, time_precision, zone
    FROM infusion_event SEMI JOIN prior_concept USING (concept)
    WHERE shows_exposure(evidence, status)
      AND record_key NOT IN (SELECT record_key FROM record_fate WHERE covered IS NOT NULL)
    UNION ALL
    SELECT patient_key, drug_class, started_at, time_precision, zone FROM study_record
    WHERE shows_exposure(evidence, status)
      AND record_key NOT IN (SELECT record_key FROM record_fate WHERE covered IS NOT NULL)
)
WHERE occurred_at IS NOT NULL;

-- Known by its month or year, a sign is earlier where all of that lies before the index's day; what
-- holds that day may be earlier or not.
CREATE TABLE unit_exposure AS
SELECT
    u.unit_id,
    bool_or(coalesce(x.day_after <= u.index_day, x.occurred_at < u.started_at)) AS is_earlier,
    bool_or(x.first_day <= u.index_day AND x.day_after > u.index_day) AS may_be_earlier
FROM unit_order AS u
JOIN exposure_sign AS x
  ON x.patient_key = u.patient_key AND coalesce(x.drug_class, u.drug_class) = u.drug_class
GROUP BY u.unit_id;

-- Diagnoses dated at or before the index, of which the study asks.
CREATE TABLE unit_fact AS
SELECT DISTINCT u.unit_id, d.concept
FROM unit_order AS u
JOIN diagnosis_fact AS d
  ON d.patient_key = u.patient_key
 AND CASE WHEN d.time_precision = 'day' OR u.axis = 'day'
          THEN d.d_lo <= u.index_day ELSE d.i_lo <= u.started_at END
SEMI JOIN (
    SELECT concept FROM indication UNION SELECT concept FROM excluded_concept
) AS asked ON asked.concept = d.concept;

CREATE TABLE unit_indication AS
SELECT f.unit_id, arg_min(i.indication_type, i.precedence) AS indication_type
FROM unit_fact AS f
JOIN indication AS i USING (concept)
GROUP BY f.unit_id;

CREATE TABLE unit_exclusion AS
SELECT unit_id, min(concept) AS concept
FROM unit_fact
SEMI JOIN excluded_concept USING (concept)
GROUP BY unit_id;

-- The encounter that the infusion names, else the latest one that holds the index start.
CREATE TABLE unit_setting AS
SELECT
    u.unit_id,
    arg_max(
        e.setting,
        (coalesce(e.record_key = u.encounter_key, false), e.occurred_at, e.record_key)
    ) AS setting
FROM unit_order AS u
JOIN encounter AS e
  ON e.patient_key = u.patient_key
 AND (
    e.record_key = u.encounter_key
    OR (e.i_lo <= u.started_at AND u.started_at < e.open_end)
    OR (e.time_precision = 'day' AND e.d_lo = u.index_day)
    OR (u.is_start_day AND e.d_lo <= u.index_day AND e.last_day >= u.index_day)
 )
GROUP BY u.unit_id;

CREATE TABLE unit_premedication AS
SELECT DISTINCT u.unit_id
FROM unit_order AS u
CROSS JOIN setting AS s
JOIN medication AS m
  ON m.patient_key = u.patient_key
 AND CASE
        -- On the infusion's own date, what is known by its day may have been for the fever.
        WHEN u.is_start_day THEN
            m.d_lo >= u.index_day - to_days(s.premedication_days) AND m.d_lo < u.index_day
        ELSE m.i_hi > u.started_at - to_microseconds(s.premedication_us)
            AND CASE m.time_precision
                WHEN 'day' THEN m.d_lo < u.index_day ELSE m.i_lo < u.started_at
            END
     END
SEMI JOIN premedication_concept AS p ON p.concept = m.concept;

CREATE TABLE unit_co_infusion AS
SELECT DISTINCT u.unit_id
FROM unit_order AS u
JOIN infusion_event AS i
  ON i.patient_key = u.patient_key
 AND i.occurred_at >= u.started_at
 AND i.occurred_at < u.ended_at + to_microseconds((SELECT co_infusion_us FROM setting))
 AND is_in_force(i.evidence, i.status)
 AND list_contains((SELECT evidence FROM setting), i.evidence)
SEMI JOIN co_infusion_concept AS c ON c.concept = i.concept;

-- The last moment at which a dated record shows the patient; of a day, its end.
CREATE MACRO shown_at(time_precision, i_lo, i_hi) AS
    CASE time_precision WHEN 'day' THEN i_hi ELSE i_lo END;

CREATE TABLE last_contact AS
SELECT patient_key, max(contact_at) AS last_contact_at
FROM (
    SELECT patient_key, coalesce(ended_at, shown_at(time_precision, i_lo, i_hi)) AS contact_at
    FROM encounter
    UNION ALL
    SELECT patient_key, shown_at(time_precision, i_lo, i_hi) FROM placed('raw_infusion')
    WHERE was_supplied(evidence, status)
    UNION ALL
    SELECT patient_key, shown_at(time_precision, i_lo, i_hi) FROM placed('raw_adverse_event')
    UNION ALL
    SELECT patient_key, shown_at(time_precision, i_lo, i_hi) FROM placed('raw_lab_collected')
    UNION ALL
    SELECT patient_key, shown_at(time_precision, i_lo, i_hi) FROM placed('raw_vital')
    WHERE value IS NOT NULL
)
WHERE (SELECT contact_grace_us IS NOT NULL FROM setting)
GROUP BY patient_key;

CREATE MACRO is_same_end(died_at, ended_at, zone) AS
    died_at = ended_at
    OR (
        local_day_of(died_at, zone) = local_day_of(ended_at, zone)
        AND local_day_of(died_at, zone)
            IN (utc_to_local(died_at, zone), utc_to_local(ended_at, zone))
    );

CREATE TABLE unit AS
WITH facts AS (
    SELECT
        u.*,
        p.patient_key IS NOT NULL AS has_patient,
        p.birth_date,
        p.sex,
        completed_months(p.birth_date, u.index_day) AS age_months,
        p.died_at,
        -- Where observation ends with the death, death ended it.
        CASE WHEN NOT coalesce(is_same_end(p.died_at, p.observation_end_at, u.zone), false)
             THEN p.observation_end_at END AS observation_end_at,
        l.last_contact_at + to_microseconds(s.contact_grace_us) AS contact_end_at,
        r.record_started_at,
        x.is_earlier,
        x.may_be_earlier,
        i.indication_type,
        e.concept AS exclusion,
        s.patients_implied,
        s.max_age_months,
        s.requires_indication,
        s.naive_lookback_us
    FROM unit_order AS u
    CROSS JOIN setting AS s
    LEFT JOIN patient AS p USING (patient_key)
    LEFT JOIN last_contact AS l USING (patient_key)
    LEFT JOIN record_start AS r USING (patient_key)
    LEFT JOIN unit_exposure AS x USING (unit_id)
    LEFT JOIN unit_indication AS i USING (unit_id)
    LEFT JOIN unit_exclusion AS e USING (unit_id)
),
judged AS (
    SELECT
        *,
        CASE
            WHEN NOT has_patient AND NOT patients_implied THEN 'patient_missing'
            WHEN index_day < birth_date THEN 'before_birth'
        END AS unplaceable_reason,
        CASE
            WHEN max_age_months IS NOT NULL AND age_months IS NULL THEN 'age_unknown'
            WHEN age_months >= max_age_months THEN 'too_old'
            WHEN requires_indication AND indication_type IS NULL THEN 'no_indication'
            WHEN exclusion IS NOT NULL THEN 'excluded: ' || exclusion
        END AS ineligible_reason
    FROM facts
)
SELECT
    j.*,
    coalesce(unplaceable_reason, ineligible_reason) AS not_counted_reason,
    CASE
        WHEN ordinal_in_record > 1 OR is_earlier THEN false
        WHEN may_be_earlier THEN NULL
        WHEN started_at - record_started_at >= to_microseconds(naive_lookback_us) THEN true
    END AS is_naive,
    coalesce(b.label, 'unknown') AS age_band,
    coalesce(t.setting, 'unknown') AS setting,
    m.unit_id IS NOT NULL AS premedicated,
    c.unit_id IS NOT NULL AS co_infusion,
    year(index_day) || '-Q' || quarter(index_day) AS calendar_quarter,
    -- The first moment no longer followed, for want of life or of observation, on either axis.
    followed_until(died_at, zone) + INTERVAL 1 MICROSECOND AS death_cut,
    local_day_of(died_at, zone) + INTERVAL 1 DAY AS death_cut_day,
    least(followed_until(observation_end_at, zone), contact_end_at) AS observation_cut,
    local_day_of(least(observation_end_at, contact_end_at), zone) + INTERVAL 1 DAY
        AS observation_cut_day
FROM judged AS j
LEFT JOIN age_band AS b ON j.age_months >= b.from_months AND j.age_months < b.until_months
LEFT JOIN unit_setting AS t USING (unit_id)
LEFT JOIN unit_premedication AS m USING (unit_id)
LEFT JOIN unit_co_infusion AS c USING (unit_id);
