-- Usable laboratory results, and which of a specimen counts (section 7).
--
-- A result without a number, with an unknown unit, cancelled or from a spoilt specimen is no test;
-- nor is one at an age for which the table of cuts has no row. Of calcium, an ionised result wins
-- over the total of its specimen, and a total is corrected by the nearest albumin, where that is low.

CREATE MACRO is_usable(value, status, specimen_quality) AS
    value IS NOT NULL
    AND coalesce(status, 'final') NOT IN ('cancelled', 'entered-in-error', 'registered', 'unknown')
    AND coalesce(specimen_quality, 'acceptable') = 'acceptable';

-- "<6.0" is below 6.0, not 6.0: a step too small for any laboratory settles the comparison.
CREATE MACRO beyond(comparator) AS CASE comparator WHEN '<' THEN -1e-8 WHEN '>' THEN 1e-8 ELSE 0 END;

CREATE MACRO is_of_age(age_months, from_months, until_months) AS
    (from_months IS NULL OR age_months >= from_months)
    AND (until_months IS NULL OR age_months < until_months);

-- A result is graded in the unit of its own unit system; where the table of cuts lacks that, it is
-- converted to the one that the table has.
CREATE TABLE lab_unit_graded AS
WITH told AS (
    SELECT scale, concept, list(DISTINCT unit) AS units
    FROM lab_cut_table
    WHERE unit IS NOT NULL
    GROUP BY scale, concept
),
chosen AS (
    SELECT
        s.scale,
        a.*,
        CASE
            WHEN t.units IS NULL OR list_contains(t.units, a.system_unit) THEN a.system_unit
            ELSE list_min(t.units)
        END AS graded_unit
    FROM lab_scale AS s
    JOIN analyte AS a USING (concept)
    LEFT JOIN told AS t USING (scale, concept)
)
SELECT
    c.*,
    c.to_canonical_factor / c.to_system_factor AS system_to_canonical,
    g.to_canonical_factor AS graded_to_canonical,
    CASE
        WHEN c.graded_unit = c.system_unit THEN 1
        ELSE system_to_canonical / graded_to_canonical
    END AS system_to_graded,
    c.to_system_factor <> 1 OR c.graded_unit <> c.system_unit AS is_converted
FROM chosen AS c
JOIN analyte AS g ON g.concept = c.concept AND g.unit = c.graded_unit;

CREATE TABLE lab_age AS
SELECT DISTINCT scale, concept, from_months, until_months FROM lab_cut_table
UNION ALL
SELECT scale, concept, NULL, NULL FROM lab_scale WHERE kind <> 'grade';

CREATE TABLE lab_usable AS
WITH result AS (
    SELECT
        l.rowid AS lab_row,
        l.record_key,
        l.patient_key,
        l.i_lo,
        l.i_hi,
        l.d_lo,
        l.d_hi,
        l.time_precision,
        l.value,
        beyond(l.comparator) AS beyond,
        l.low_limit,
        l.high_limit,
        l.status = 'preliminary' AS is_provisional,
        l.is_issue_time OR l.time_precision = 'day' AS is_imprecise,
        s.scale,
        s.concept,
        s.kind,
        s.measure,
        u.rowid AS unit_row,
        p.sex,
        completed_months(p.birth_date, l.d_lo) AS age_months
    FROM lab AS l
    JOIN lab_scale AS s ON s.concept = l.concept
    JOIN lab_unit_graded AS u ON u.scale = s.scale AND u.concept = l.concept AND u.unit = l.unit
    LEFT JOIN patient AS p USING (patient_key)
    SEMI JOIN unit ON unit.patient_key = l.patient_key
    WHERE is_usable(l.value, l.status, l.specimen_quality)
)
SELECT r.*
FROM result AS r
SEMI JOIN lab_age AS a
  ON a.scale = r.scale AND a.concept = r.concept
 AND is_of_age(r.age_months, a.from_months, a.until_months);

-- How far two draws lie apart: in whole days, where either is known by its day.
CREATE MACRO apart_us(one_precision, one_at, one_day, other_precision, other_at, other_day) AS
    CASE WHEN 'day' IN (one_precision, other_precision)
        THEN abs(date_diff('day', one_day, other_day)) * 86400000000
        ELSE abs(epoch_us(one_at) - epoch_us(other_at))
    END;

-- The local days that what lies `reach_us` apart can stand on, and one more for clocks that change.
CREATE MACRO days_within(local_day, reach_us) AS list_transform(
    range(-ceil(reach_us / 86400e6)::INTEGER - 1, ceil(reach_us / 86400e6)::INTEGER + 2),
    lambda n: local_day + to_days(n::INTEGER)
);

-- Up to its grace, a draw is before an infusion.
CREATE MACRO draws_begin(started_at) AS
    started_at + to_microseconds((SELECT grace_us FROM setting)) + INTERVAL 1 MICROSECOND;

CREATE TABLE start_of_draws AS
SELECT patient_key, is_start_day, index_day, draws_begin(started_at) AS draws_begin FROM unit;

-- Totals that an ionised result of the same specimen stands for. Draws on both sides of an infusion are
-- no one specimen.
CREATE TABLE lab_overruled AS
WITH ionised AS (
    SELECT
        i.scale, i.patient_key, i.time_precision, i.i_lo, i.d_lo, s.specimen_us,
        unnest(days_within(i.d_lo, s.specimen_us)) AS near_day
    FROM lab_usable AS i
    JOIN lab_scale AS s ON s.scale = i.scale AND s.measure = 'total'
    WHERE i.measure = 'ionised'
)
SELECT DISTINCT t.scale, t.lab_row
FROM lab_usable AS t
JOIN ionised AS i
  ON i.scale = t.scale AND i.patient_key = t.patient_key AND i.near_day = t.d_lo
JOIN study_outcome AS o ON o.outcome = t.scale
ANTI JOIN start_of_draws AS u
  ON u.patient_key = t.patient_key
 AND side_of(
        o.same_day, u.is_start_day, u.index_day, u.draws_begin, t.time_precision, t.i_lo, t.d_lo
     ) <> side_of(
        o.same_day, u.is_start_day, u.index_day, u.draws_begin, i.time_precision, i.i_lo, i.d_lo
     )
WHERE t.measure = 'total'
  AND CASE WHEN 'day' IN (t.time_precision, i.time_precision) THEN t.d_lo = i.d_lo
           ELSE abs(epoch_us(t.i_lo) - epoch_us(i.i_lo)) <= i.specimen_us END;

-- The albumin of a total: the nearest; of equal distances the earlier, then the lower.
CREATE TABLE lab_albumin AS
WITH albumin AS (
    SELECT
        l.patient_key,
        l.time_precision,
        l.i_lo,
        l.d_lo,
        s.scale,
        s.albumin_gap_us,
        round(l.value * a.to_canonical_factor + a.to_canonical_offset, 9) + beyond(l.comparator)
            AS g_per_dl,
        unnest(days_within(l.d_lo, s.albumin_gap_us)) AS near_day
    FROM lab AS l
    JOIN lab_scale AS s ON s.albumin_concept = l.concept
    JOIN analyte AS a ON a.concept = l.concept AND a.unit = l.unit
    WHERE is_usable(l.value, l.status, l.specimen_quality)
)
SELECT
    t.scale,
    t.lab_row,
    arg_min(a.g_per_dl, (
        apart_us(t.time_precision, t.i_lo, t.d_lo, a.time_precision, a.i_lo, a.d_lo),
        a.i_lo,
        a.g_per_dl
    )) AS g_per_dl
FROM lab_usable AS t
JOIN albumin AS a
  ON a.scale = t.scale AND a.patient_key = t.patient_key AND a.near_day = t.d_lo
WHERE t.measure = 'total'
  AND apart_us(t.time_precision, t.i_lo, t.d_lo, a.time_precision, a.i_lo, a.d_lo)
      <= a.albumin_gap_us
GROUP BY t.scale, t.lab_row;

-- What counts, with its number: as graded, as reported (compared with its own limits), and in the
-- one unit in which all results of the analyte can be compared.
CREATE VIEW lab_value AS
WITH corrected AS (
    SELECT
        r.* EXCLUDE (measure),
        a.g_per_dl,
        CASE WHEN a.g_per_dl < 4.0 THEN 'corrected' ELSE r.measure END AS measure,
        -- Each unit system has its own formula, as printed.
        CASE
            WHEN a.g_per_dl < 4.0 AND u.unit_system = 'si' THEN 0.02 * (40 - 10 * a.g_per_dl)
            WHEN a.g_per_dl < 4.0 THEN 0.8 * (4.0 - a.g_per_dl)
            ELSE 0
        END AS added,
        u.unit,
        u.system_unit,
        u.graded_unit,
        u.is_converted,
        u.to_system_factor,
        u.system_to_graded,
        u.to_canonical_factor,
        u.to_canonical_offset,
        u.system_to_canonical,
        u.graded_to_canonical
    FROM lab_usable AS r
    JOIN lab_unit_graded AS u ON u.rowid = r.unit_row
    LEFT JOIN lab_albumin AS a ON a.scale = r.scale AND a.lab_row = r.lab_row
    ANTI JOIN lab_overruled AS o ON o.scale = r.scale AND o.lab_row = r.lab_row
)
SELECT
    scale, concept, kind, measure, lab_row, record_key, patient_key, i_lo, i_hi, d_lo, d_hi,
    time_precision, sex, age_months, low_limit, high_limit, is_provisional, is_imprecise,
    is_converted, unit, system_unit, graded_unit, graded_to_canonical, beyond,
    -- The number that is shown; as reported, where nothing was added to it.
    CASE WHEN added <> 0 THEN round(value + added / to_system_factor, 6) ELSE value END AS value,
    round(value * to_system_factor + added, 9) + beyond AS system_value,
    round(round(value * to_system_factor + added, 9) * system_to_graded, 9) + beyond
        AS graded_value,
    round(value + added / to_system_factor, 9) + beyond AS own_value,
    value * to_canonical_factor + to_canonical_offset + added * system_to_canonical + beyond
        AS canonical_value,
    -- A total with an albumin that is not low is what it would be after correction.
    CASE
        WHEN measure IS NULL THEN 'any'
        WHEN measure = 'total' AND g_per_dl IS NOT NULL THEN 'either'
        ELSE measure
    END AS likeness
FROM corrected;

-- Like is compared with like: which results may be the baseline of which.
CREATE TABLE lab_likeness AS
SELECT * FROM (VALUES
    ('any', 'any'), ('ionised', 'ionised'), ('corrected', 'corrected'), ('total', 'total'),
    ('either', 'either'), ('either', 'corrected'), ('either', 'total'), ('corrected', 'either'),
    ('total', 'either')
) AS pair (likeness, baseline_likeness);
