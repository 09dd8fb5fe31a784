-- Laboratory outcomes: units, grades, baseline, worst (section 7).
--
-- Graded in the reported unit system with that system's own cuts. The baseline is the last result
-- before the index (grace included) that no earlier unit's uncut risk or extended window holds.
-- A result without a number, with an unknown unit, cancelled or from a spoilt specimen is no test.

CREATE TABLE lab_value AS
SELECT
    l.*,
    o.outcome,
    o.kind,
    a.unit_system,
    a.system_unit,
    a.canonical_unit,
    a.to_system_factor <> 1 AS is_converted,
    -- "<6.0" is below 6.0, not 6.0: a step too small for any laboratory settles the comparison.
    CASE l.comparator WHEN '<' THEN -1e-8 WHEN '>' THEN 1e-8 ELSE 0 END AS beyond,
    l.value * a.to_canonical_factor + a.to_canonical_offset + beyond AS canonical_value,
    round(l.value * a.to_system_factor, 9) + beyond AS system_value,
    l.value + beyond AS own_value
FROM lab AS l
JOIN study_outcome AS o ON o.concept = l.concept AND o.kind IN ('grade', 'threshold', 'ratio')
JOIN analyte AS a ON a.concept = l.concept AND a.unit = l.unit
WHERE l.value IS NOT NULL
  AND coalesce(l.status, 'final') NOT IN ('cancelled', 'entered-in-error', 'registered', 'unknown')
  AND coalesce(l.specimen_quality, 'acceptable') = 'acceptable';

CREATE TABLE lab_limit AS
SELECT
    l.record_key,
    l.outcome,
    coalesce(l.low_limit, n.low) AS low_limit,
    l.low_limit IS NULL AND n.low IS NOT NULL AS is_table_limit
FROM lab_value AS l
LEFT JOIN patient AS p USING (patient_key)
LEFT JOIN normal_limit AS n
  ON n.outcome = l.outcome
 AND n.unit = l.system_unit
 AND n.sex = p.sex
 AND (year(l.d_lo) - year(p.birth_date)) * 12 + month(l.d_lo) - month(p.birth_date)
        - (day(l.d_lo) < day(p.birth_date))::INTEGER >= n.from_months
 AND (year(l.d_lo) - year(p.birth_date)) * 12 + month(l.d_lo) - month(p.birth_date)
        - (day(l.d_lo) < day(p.birth_date))::INTEGER < n.until_months
WHERE l.kind = 'grade';

CREATE TABLE lab_cut AS
SELECT l.record_key, l.outcome, max(c.grade) AS cut_grade
FROM lab_value AS l
JOIN lab_cut_table AS c
  ON c.outcome = l.outcome AND c.unit = l.system_unit
 AND l.system_value < c.below
GROUP BY l.record_key, l.outcome;

CREATE TABLE lab_graded AS
SELECT
    l.*,
    CASE l.kind
        -- At or above its own limit a result is normal, even below a numeric cut.
        WHEN 'grade' THEN CASE
            WHEN NOT m.is_table_limit AND l.own_value >= m.low_limit THEN 0
            WHEN c.cut_grade IS NOT NULL THEN c.cut_grade
            WHEN CASE WHEN m.is_table_limit THEN l.system_value ELSE l.own_value END < m.low_limit
                THEN 1
            ELSE 0
        END
        WHEN 'threshold' THEN CASE o.operator
            WHEN '<' THEN round(l.canonical_value, 9) < o.threshold
            WHEN '<=' THEN round(l.canonical_value, 9) <= o.threshold
            WHEN '>' THEN round(l.canonical_value, 9) > o.threshold
            WHEN '>=' THEN round(l.canonical_value, 9) >= o.threshold
        END::INTEGER
    END AS grade,
    list_filter(
        [
            CASE WHEN m.is_table_limit THEN 'limit_from_table' END,
            CASE
                WHEN NOT m.is_table_limit AND l.value >= m.low_limit AND c.cut_grade IS NOT NULL
                    THEN 'normal_by_own_limit'
            END,
            CASE WHEN l.is_converted THEN 'unit_converted' END,
            CASE WHEN l.status = 'preliminary' THEN 'provisional' END,
            CASE WHEN l.is_issue_time OR l.time_precision = 'day' THEN 'imprecise' END
        ],
        lambda flag: flag IS NOT NULL
    ) AS value_flags
FROM lab_value AS l
JOIN study_outcome AS o USING (outcome)
LEFT JOIN lab_limit AS m ON m.record_key = l.record_key AND m.outcome = l.outcome
LEFT JOIN lab_cut AS c ON c.record_key = l.record_key AND c.outcome = l.outcome;

-- Last draw that still is baseline, on the unit's axis, and the uncut windows that spoil one.
CREATE TABLE lab_unit AS
SELECT DISTINCT
    w.unit_id,
    w.patient_key,
    w.drug_class,
    w.ordinal_in_record,
    w.axis,
    w.outcome,
    w.same_day,
    w.index_day,
    w.started_at,
    w.started_at + to_microseconds(s.grace_us) AS grace_at,
    w.started_at - to_microseconds(o.baseline_us) AS reach_at,
    w.index_day - to_microseconds(o.baseline_us) AS reach_day
FROM unit_window AS w
JOIN study_outcome AS o USING (outcome)
CROSS JOIN setting AS s
WHERE w.kind IN ('grade', 'threshold', 'ratio');

CREATE TABLE lab_baseline AS
WITH candidate AS (
    SELECT u.*, l.* EXCLUDE (patient_key, outcome)
    FROM lab_unit AS u
    JOIN lab_graded AS l ON l.patient_key = u.patient_key AND l.outcome = u.outcome
    WHERE CASE
        WHEN is_same_day(u.axis, l.time_precision, l.d_lo, u.index_day) THEN u.same_day = 'before'
        WHEN u.axis = 'day' THEN l.d_lo < u.index_day AND l.d_lo >= u.reach_day
        -- The grace is for draws at a known time; a whole day lies on one side or the other.
        WHEN l.time_precision = 'day' THEN l.d_lo < u.index_day AND l.i_hi > u.reach_at
        ELSE l.i_lo <= u.grace_at AND l.i_hi > u.reach_at
    END
)
SELECT c.*
FROM candidate AS c
WHERE NOT EXISTS (
    FROM unit_window AS e
    WHERE e.patient_key = c.patient_key
      AND e.drug_class = c.drug_class
      AND e.outcome = c.outcome
      AND e.ordinal_in_record < c.ordinal_in_record
      AND e.window_name IN ('risk', 'extended')
      AND meets(e.axis, c.i_lo, c.i_hi, c.d_lo, c.d_hi, e.lo, e.hi)
      -- Up to the grace after its own start a draw is that unit's baseline, not its effect.
      AND CASE
            WHEN is_same_day(e.axis, c.time_precision, c.d_lo, e.index_day)
                THEN e.same_day = 'after'
            WHEN e.axis = 'day' OR c.time_precision = 'day' THEN true
            ELSE c.i_lo > e.started_at + to_microseconds((SELECT grace_us FROM setting))
          END
)
-- Equal times: the smaller value, so that the choice depends on no key.
QUALIFY row_number() OVER (
    PARTITION BY c.unit_id, c.outcome ORDER BY c.i_lo DESC, c.canonical_value, c.record_key
) = 1;

CREATE TABLE lab_in_window AS
SELECT
    w.unit_id,
    w.window_name,
    w.lo,
    w.axis,
    w.started_at,
    l.*,
    b.record_key AS baseline_key,
    b.grade AS baseline_grade,
    b.value AS baseline_value,
    b.unit AS baseline_unit,
    b.i_lo AS baseline_at,
    b.canonical_value AS baseline_canonical
FROM unit_window AS w
JOIN lab_unit AS u ON u.unit_id = w.unit_id AND u.outcome = w.outcome
JOIN lab_graded AS l
  ON l.patient_key = w.patient_key AND l.outcome = w.outcome
 AND meets(w.axis, l.i_lo, l.i_hi, l.d_lo, l.d_hi, w.lo, w.cut_at)
LEFT JOIN lab_baseline AS b ON b.unit_id = w.unit_id AND b.outcome = w.outcome
WHERE CASE
        WHEN is_same_day(w.axis, l.time_precision, l.d_lo, w.index_day) THEN w.same_day = 'after'
        WHEN w.axis = 'day' OR l.time_precision = 'day' THEN true
        ELSE l.i_lo > u.grace_at OR l.i_lo < w.started_at
      END
  -- The risk window wins over control: a result known by its day never enters both.
  AND NOT (
    w.window_name = 'control' AND l.time_precision = 'day'
    AND EXISTS (
        FROM unit_window AS r
        WHERE r.unit_id = w.unit_id AND r.outcome = w.outcome AND r.window_name = 'risk'
          AND meets(r.axis, l.i_lo, l.i_hi, l.d_lo, l.d_hi, r.lo, r.cut_at)
    )
  )
  -- The next unit's own day, known by its day: the next unit's, or nobody's.
  AND NOT (
    w.same_day <> 'before' AND l.time_precision = 'day'
    AND l.d_lo IS NOT DISTINCT FROM w.next_day
  );

CREATE TABLE lab_judged AS
SELECT
    l.*,
    o.min_grade,
    CASE l.kind
        WHEN 'ratio' THEN coalesce(
            l.baseline_canonical > 0
            AND round(l.canonical_value, 9) >= round(o.ratio * l.baseline_canonical, 9)
            AND round(l.canonical_value - l.baseline_canonical, 9) >= coalesce(o.min_rise, 0),
            false
        )
        ELSE l.grade >= o.min_grade AND l.grade > coalesce(l.baseline_grade, 0)
    END AS is_hit,
    -- How far out: the grade, then the value in the direction that the outcome looks.
    CASE
        WHEN l.kind = 'ratio' OR o.operator IN ('>', '>=') THEN -l.canonical_value
        ELSE l.canonical_value
    END AS outwardness
FROM lab_in_window AS l
JOIN study_outcome AS o USING (outcome);

CREATE TABLE lab_result AS
SELECT
    unit_id,
    outcome,
    window_name,
    bool_or(is_hit) AS is_hit,
    min(i_lo) FILTER (WHERE is_hit) AS onset_at,
    arg_min(
        CASE WHEN axis = 'day' THEN 'day' ELSE time_precision END, (i_lo, record_key)
    ) FILTER (WHERE is_hit) AS onset_precision,
    min(greatest(lo, CASE axis WHEN 'day' THEN d_lo ELSE i_lo END)) FILTER (WHERE is_hit)
        AS onset_axis,
    max(CASE kind WHEN 'ratio' THEN is_hit::INTEGER ELSE grade END) AS grade,
    arg_min(value, (-coalesce(grade, 0), outwardness, i_lo, record_key)) AS worst_value,
    arg_min(unit, (-coalesce(grade, 0), outwardness, i_lo, record_key)) AS worst_unit,
    arg_min(i_lo, (-coalesce(grade, 0), outwardness, i_lo, record_key)) AS worst_at,
    arg_min(record_key, (-coalesce(grade, 0), outwardness, i_lo, record_key)) AS worst_key,
    arg_min(canonical_value, (-coalesce(grade, 0), outwardness, i_lo, record_key))
        AS worst_canonical,
    list_sort(list_distinct(flatten(list(value_flags)))) AS value_flags
FROM lab_judged
GROUP BY unit_id, outcome, window_name;
