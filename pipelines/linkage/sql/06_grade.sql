-- Grades of laboratory results, by the study's tables of cuts (section 7).
--
-- Graded in the reported unit system with that system's own cuts. A result has the highest grade of
-- which any row holds. At or above its own lower limit it is below no cut, and at or below its own
-- upper limit above none. Without a limit of its own the study's table by age and sex stands in, for
-- grade 1 alone. Rows of the baseline and of a rise wait until there is one (06_laboratory).

CREATE MACRO is_beyond(side, number, cut) AS CASE side
    WHEN 'below' THEN number < cut
    WHEN 'at_or_below' THEN number <= cut
    WHEN 'above' THEN number > cut
    WHEN 'at_or_above' THEN number >= cut
END;

CREATE TABLE lab_limited AS
SELECT v.*, n.low AS table_low, n.high AS table_high
FROM lab_value AS v
LEFT JOIN normal_limit AS n
  ON n.scale = v.scale AND n.concept = v.concept AND n.unit = v.system_unit AND n.sex = v.sex
 AND is_of_age(v.age_months, n.from_months, n.until_months);

CREATE TABLE lab_cut AS
WITH holding AS (
    SELECT
        v.scale,
        v.lab_row,
        c.grade,
        c.side IN ('above', 'at_or_above') AS is_high,
        coalesce(
            CASE c.of
                WHEN 'lower_limit' THEN v.low_limit IS NULL
                WHEN 'upper_limit' THEN v.high_limit IS NULL
            END,
            false
        ) AS is_by_table,
        coalesce(
            CASE
                WHEN c.side IN ('below', 'at_or_below') THEN v.own_value >= v.low_limit
                ELSE v.own_value <= v.high_limit
            END,
            false
        ) AS is_normal
    FROM lab_limited AS v
    JOIN lab_cut_table AS c
      ON c.scale = v.scale AND c.concept = v.concept
     AND is_of_age(v.age_months, c.from_months, c.until_months)
     AND CASE c.of
            WHEN 'value' THEN
                c.unit = v.graded_unit AND is_beyond(c.side, v.graded_value, c.cut)
            WHEN 'lower_limit' THEN CASE
                WHEN v.low_limit IS NOT NULL
                    THEN is_beyond(c.side, v.own_value, round(c.cut * v.low_limit, 9))
                ELSE c.grade = 1
                    AND is_beyond(c.side, v.system_value, round(c.cut * v.table_low, 9))
            END
            WHEN 'upper_limit' THEN CASE
                WHEN v.high_limit IS NOT NULL
                    THEN is_beyond(c.side, v.own_value, round(c.cut * v.high_limit, 9))
                ELSE c.grade = 1
                    AND is_beyond(c.side, v.system_value, round(c.cut * v.table_high, 9))
            END
         END
)
SELECT
    scale,
    lab_row,
    max(grade) FILTER (WHERE NOT is_normal) AS grade,
    arg_max(is_high, grade) FILTER (WHERE NOT is_normal) AS is_high,
    -- Owed to the study's table of limits: no other row gives as much.
    max(grade) FILTER (WHERE NOT is_normal)
    > coalesce(max(grade) FILTER (WHERE NOT is_normal AND NOT is_by_table), 0) AS is_by_table,
    bool_or(is_normal) AS is_normal
FROM holding
GROUP BY scale, lab_row;

-- Which limits of normal a scale reads at all.
CREATE TABLE lab_limit_read AS
SELECT
    scale,
    concept,
    bool_or("of" = 'lower_limit' AND grade = 1) AS is_low_read,
    bool_or("of" = 'upper_limit' AND grade = 1) AS is_high_read
FROM lab_cut_table
GROUP BY scale, concept;

CREATE VIEW lab_graded AS
SELECT
    v.* EXCLUDE (sex, low_limit, high_limit, table_low, table_high, system_value, own_value),
    CASE v.kind
        WHEN 'grade' THEN coalesce(c.grade, 0)
        WHEN 'threshold' THEN CASE o.operator
            WHEN '<' THEN round(v.canonical_value, 9) < o.threshold
            WHEN '<=' THEN round(v.canonical_value, 9) <= o.threshold
            WHEN '>' THEN round(v.canonical_value, 9) > o.threshold
            WHEN '>=' THEN round(v.canonical_value, 9) >= o.threshold
        END::INTEGER
    END AS grade,
    c.is_normal,
    c.is_high,
    coalesce(c.is_by_table, false) AS is_table_grade,
    coalesce(
        (r.is_low_read AND v.low_limit IS NOT NULL) OR (r.is_high_read AND v.high_limit IS NOT NULL),
        false
    ) AS has_own_limit,
    (r.is_low_read AND v.low_limit IS NULL AND v.table_low IS NOT NULL)
    OR (r.is_high_read AND v.high_limit IS NULL AND v.table_high IS NOT NULL) AS is_table_limit
FROM lab_limited AS v
LEFT JOIN lab_cut AS c ON c.scale = v.scale AND c.lab_row = v.lab_row
LEFT JOIN lab_limit_read AS r ON r.scale = v.scale AND r.concept = v.concept
-- A threshold is a scale of its own.
LEFT JOIN study_outcome AS o ON o.outcome = v.scale AND o.kind = 'threshold';
