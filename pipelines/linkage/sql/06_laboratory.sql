-- Laboratory outcomes: baseline, what is in the window, event or not, the worst (section 7).
--
-- The baseline is the last result before the index (grace included) that no earlier unit's uncut
-- risk or extended window holds; of calcium, the last like one. An event is a grade that is at least
-- the outcome's and above baseline, of a value beyond the baseline's. Where only unlike results could be
-- a baseline, there is none.

-- Last draw that still is baseline, on the unit's axis, and the uncut windows that spoil one.
CREATE TABLE lab_unit AS
SELECT DISTINCT
    w.unit_id,
    w.patient_key,
    w.overlap_group,
    w.place,
    w.axis,
    w.outcome,
    x.scale,
    w.same_day,
    w.index_day,
    w.is_start_day,
    draws_begin(w.begin_at) AS draws_begin,
    w.started_at - to_microseconds(o.baseline_us) AS reach_at,
    w.index_day - to_microseconds(o.baseline_us) AS reach_day
FROM unit_window AS w
JOIN study_outcome AS o USING (outcome)
JOIN lab_outcome AS x USING (outcome);

-- The uncut windows that spoil a baseline, of each unit by itself.
CREATE TABLE lab_spoiler AS
SELECT
    e.outcome, e.patient_key, e.overlap_group, e.place, e.axis, e.lo, e.hi, e.index_day,
    e.same_day, u.is_start_day, draws_begin(u.started_at) AS draws_begin
FROM unit_window AS e
JOIN unit AS u USING (unit_id)
SEMI JOIN lab_outcome USING (outcome)
WHERE e.window_name IN ('risk', 'extended');

CREATE TABLE lab_candidate AS
SELECT u.unit_id, u.outcome, l.lab_row, l.scale, l.likeness, l.i_lo, l.canonical_value, l.record_key
FROM lab_unit AS u
JOIN lab_graded AS l ON l.patient_key = u.patient_key AND l.scale = u.scale
WHERE side_of(
        u.same_day, u.is_start_day, u.index_day, u.draws_begin, l.time_precision, l.i_lo, l.d_lo
      ) = 'before'
  AND CASE u.axis WHEN 'day' THEN l.d_lo >= u.reach_day ELSE l.i_hi > u.reach_at END
  AND NOT EXISTS (
    FROM lab_spoiler AS e
    WHERE e.patient_key = u.patient_key
      AND e.overlap_group = u.overlap_group
      AND e.outcome = u.outcome
      AND e.place < u.place
      AND meets(e.axis, l.i_lo, l.i_hi, l.d_lo, l.d_hi, e.lo, e.hi)
      -- Up to the grace after its own start a draw is that unit's baseline, not its effect.
      AND side_of(
            e.same_day, e.is_start_day, e.index_day, e.draws_begin, l.time_precision, l.i_lo, l.d_lo
          ) = 'after'
  );

-- Last first; equal times: the smaller value, so that the choice depends on no key.
CREATE MACRO lateness(i_lo, canonical_value, record_key) AS
    {'at': -epoch_us(i_lo), 'value': canonical_value, 'record_key': record_key};

-- One row a unit, outcome and likeness: the last result before that may be compared with it.
CREATE TABLE lab_like_baseline AS
WITH last AS (
    SELECT
        c.unit_id,
        c.outcome,
        k.likeness,
        c.scale,
        arg_min(c.lab_row, lateness(c.i_lo, c.canonical_value, c.record_key)) AS lab_row
    FROM lab_candidate AS c
    JOIN lab_likeness AS k ON k.baseline_likeness = c.likeness
    GROUP BY c.unit_id, c.outcome, k.likeness, c.scale
)
SELECT b.unit_id, b.outcome, b.likeness, l.* EXCLUDE (likeness)
FROM last AS b
JOIN lab_graded AS l ON l.scale = b.scale AND l.lab_row = b.lab_row;

-- The last of any kind: what a window without a result shows, and what makes unlike ones a switch.
CREATE TABLE lab_last_baseline AS
SELECT
    unit_id,
    outcome,
    arg_min(likeness, (lateness(i_lo, canonical_value, record_key), likeness)) AS likeness
FROM lab_like_baseline
GROUP BY unit_id, outcome;

CREATE TABLE lab_in_window AS
WITH sided AS (
    SELECT
        w.unit_id,
        w.outcome,
        w.window_name,
        w.lo,
        w.axis,
        w.started_at,
        w.index_day,
        w.kept_until,
        side_of(
            w.same_day, w.is_start_day, w.index_day, u.draws_begin, l.time_precision, l.i_lo, l.d_lo
        ) AS own_side,
        CASE WHEN w.next_day IS NOT NULL THEN side_of(
            w.same_day, w.is_next_start_day, w.next_day, draws_begin(w.next_begin_at),
            l.time_precision, l.i_lo, l.d_lo
        ) END AS next_side,
        CASE WHEN NOT w.is_next_start_day THEN draws_begin(w.next_start_at) END AS next_at,
        l.*
    FROM unit_window AS w
    JOIN lab_unit AS u ON u.unit_id = w.unit_id AND u.outcome = w.outcome
    JOIN lab_graded AS l
      ON l.patient_key = w.patient_key AND l.scale = u.scale
     AND meets(w.axis, l.i_lo, l.i_hi, l.d_lo, l.d_hi, w.lo, w.kept_until)
)
SELECT
    l.* EXCLUDE (index_day, kept_until, own_side, next_side, next_at),
    b.unit_id IS NULL AND a.unit_id IS NOT NULL AS is_switch,
    b.measure AS baseline_measure,
    -- What the study's table of limits alone calls low is not, beside a limit of the result's own.
    CASE WHEN b.is_table_grade AND l.has_own_limit THEN 0 ELSE b.grade END AS baseline_grade,
    coalesce(b.is_table_grade, false) AS is_baseline_by_table,
    b.canonical_value AS baseline_canonical,
    b.beyond AS baseline_beyond,
    -- In the unit that the result is graded in, whichever the baseline came in.
    CASE
        WHEN b.graded_unit = l.graded_unit THEN b.graded_value
        ELSE round(b.canonical_value / l.graded_to_canonical, 9)
    END AS baseline_graded
FROM sided AS l
LEFT JOIN lab_like_baseline AS b
  ON b.unit_id = l.unit_id AND b.outcome = l.outcome AND b.likeness = l.likeness
LEFT JOIN lab_last_baseline AS a ON a.unit_id = l.unit_id AND a.outcome = l.outcome
WHERE holds(
        l.axis, l.own_side, l.started_at, l.index_day, l.next_side, l.next_at,
        l.i_lo, l.i_hi, l.d_lo, l.d_hi, l.lo, l.kept_until
    )
  AND NOT EXISTS (
    FROM lost_to_risk AS x
    WHERE x.unit_id = l.unit_id AND x.outcome = l.outcome AND x.window_name = l.window_name
      AND meets(x.risk_axis, l.i_lo, l.i_hi, l.d_lo, l.d_hi, x.risk_lo, x.risk_hi)
  );

-- So many times a number; what lies just above (or below) it, just above that.
CREATE MACRO times(multiple, number, beyond) AS round(multiple * (number - beyond) + beyond, 9);

-- Grades by rows of the baseline and of a rise: only where there is a baseline.
CREATE TABLE lab_rise AS
SELECT
    l.unit_id,
    l.outcome,
    l.window_name,
    l.lab_row,
    max(c.grade) AS grade,
    arg_max(c.side IN ('above', 'at_or_above'), c.grade) AS is_high
FROM lab_in_window AS l
JOIN study_outcome AS o USING (outcome)
JOIN lab_cut_table AS c
  ON c.scale = l.scale AND c.concept = l.concept
 AND is_of_age(l.age_months, c.from_months, c.until_months)
WHERE CASE c.of
        WHEN 'baseline' THEN
            l.baseline_canonical > 0
            AND is_beyond(
                c.side,
                round(l.canonical_value, 9),
                times(c.cut, l.baseline_canonical, l.baseline_beyond)
            )
            -- A step or two of what the laboratory reports in is no change.
            AND round(abs(l.canonical_value - l.baseline_canonical), 9) >= coalesce(o.min_rise, 0)
        WHEN 'rise' THEN
            c.unit = l.graded_unit
            AND is_beyond(c.side, round(l.graded_value - l.baseline_graded, 9), c.cut)
      END
GROUP BY l.unit_id, l.outcome, l.window_name, l.lab_row;

CREATE TABLE lab_judged AS
SELECT
    l.* REPLACE (greatest(l.grade, r.grade) AS grade),
    l.is_switch AND greatest(l.grade, r.grade) >= o.min_grade AS is_switch_graded,
    raw.event_type,
    raw.source_file_sha,
    raw.source_row,
    CASE l.kind
        WHEN 'ratio' THEN coalesce(
            l.baseline_canonical > 0
            AND round(l.canonical_value, 9)
                >= times(o.ratio, l.baseline_canonical, l.baseline_beyond)
            AND round(l.canonical_value - l.baseline_canonical, 9) >= coalesce(o.min_rise, 0),
            false
        )
        ELSE NOT l.is_switch
            AND greatest(l.grade, r.grade) >= o.min_grade
            AND greatest(l.grade, r.grade) > coalesce(l.baseline_grade, 0)
            AND (l.kind <> 'grade' OR coalesce(
                CASE WHEN CASE WHEN r.grade > l.grade THEN r.is_high ELSE l.is_high END
                    THEN round(l.canonical_value, 9) > round(l.baseline_canonical, 9)
                    ELSE round(l.canonical_value, 9) < round(l.baseline_canonical, 9)
                END,
                true
            ))
    END AS is_hit,
    -- Events first, then how far out: the grade, the value in the direction that the outcome looks.
    {
        'is_none': NOT is_hit,
        'grade': -coalesce(greatest(l.grade, r.grade), 0),
        'value': CASE WHEN x.is_high_worse THEN -l.canonical_value ELSE l.canonical_value END,
        'at': l.i_lo,
        'record_key': l.record_key
    } AS rank
FROM lab_in_window AS l
JOIN study_outcome AS o USING (outcome)
JOIN lab_outcome AS x USING (outcome)
JOIN lab AS raw ON raw.rowid = l.lab_row
LEFT JOIN lab_rise AS r
  ON r.unit_id = l.unit_id AND r.outcome = l.outcome AND r.window_name = l.window_name
 AND r.lab_row = l.lab_row;

CREATE TABLE lab_result AS
WITH whole AS (
    SELECT
        unit_id,
        outcome,
        window_name,
        bool_or(is_hit) AS is_hit,
        -- A grade that counts, of a result that had only unlike ones to be compared with.
        bool_or(coalesce(is_switch_graded, false)) AS is_switch_graded,
        min(i_lo) FILTER (WHERE is_hit) AS onset_at,
        -- Blood is drawn before its result is issued: nobody knows the hour.
        arg_min(
            CASE WHEN axis = 'day' OR is_imprecise THEN 'day' ELSE time_precision END,
            (i_lo, record_key)
        ) FILTER (WHERE is_hit) AS onset_precision,
        min(greatest(lo, CASE axis WHEN 'day' THEN d_lo ELSE i_lo END)) FILTER (WHERE is_hit)
            AS onset_axis,
        arg_min(lab_row, rank) AS lab_row,
        list_filter(
            [
                CASE WHEN bool_or(is_imprecise) THEN 'imprecise' END,
                CASE WHEN bool_or(is_table_limit OR is_baseline_by_table) THEN 'limit_from_table' END,
                CASE WHEN bool_or(is_switch) THEN 'measure_switch' END,
                CASE WHEN bool_or(is_normal) THEN 'normal_by_own_limit' END,
                CASE WHEN bool_or(is_provisional) THEN 'provisional' END,
                CASE WHEN bool_or(is_converted) THEN 'unit_converted' END
            ],
            lambda flag: flag IS NOT NULL
        ) AS value_flags
    FROM lab_judged
    GROUP BY unit_id, outcome, window_name
)
SELECT
    w.* EXCLUDE (lab_row),
    CASE j.kind WHEN 'ratio' THEN j.is_hit::INTEGER ELSE j.grade END AS grade,
    j.value AS worst_value,
    j.unit AS worst_unit,
    j.i_lo AS worst_at,
    j.record_key AS worst_key,
    j.canonical_value AS worst_canonical,
    j.likeness AS worst_likeness,
    j.measure,
    j.baseline_measure
FROM whole AS w
JOIN lab_judged AS j USING (unit_id, outcome, window_name, lab_row);

-- One row a window: the baseline of its worst result; without a result, the last before the index.
CREATE TABLE lab_baseline AS
SELECT w.window_name, b.*, raw.event_type, raw.source_file_sha, raw.source_row
FROM unit_window AS w
JOIN lab_last_baseline AS a ON a.unit_id = w.unit_id AND a.outcome = w.outcome
LEFT JOIN lab_result AS r
  ON r.unit_id = w.unit_id AND r.outcome = w.outcome AND r.window_name = w.window_name
JOIN lab_like_baseline AS b
  ON b.unit_id = w.unit_id AND b.outcome = w.outcome
 AND b.likeness = coalesce(r.worst_likeness, a.likeness)
JOIN lab AS raw ON raw.rowid = b.lab_row;
