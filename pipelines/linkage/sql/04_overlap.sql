-- Which units compete for an event, and what each would own alone (sections 3 and 4).
--
-- Units compete within their drug class or, where the outcome says so, with those of every class that
-- it is watched after (its circle). Under `merge`, windows of one name that share time become one, of
-- the first of their units.

-- The place of every unit among those that it competes with. Equal starts: the later end, then the
-- smaller id, owns, and so comes last.
CREATE TABLE unit_place AS
WITH dated AS (
    SELECT
        u.*,
        c.circle,
        coalesce(c.circle, u.drug_class) AS overlap_group,
        min(u.started_at) OVER on_date AS date_start_at,
        bool_or(u.is_start_day) OVER on_date AS is_date_start_day
    FROM unit AS u
    JOIN (SELECT circle, any_value(drug_classes) AS classes FROM study_outcome GROUP BY circle) AS c
      ON c.circle IS NULL OR list_contains(c.classes, u.drug_class)
    WINDOW on_date AS (
        PARTITION BY c.circle, u.patient_key, coalesce(c.circle, u.drug_class), u.index_day
    )
)
SELECT
    circle,
    unit_id,
    overlap_group,
    row_number() OVER in_group AS place,
    lead(started_at) OVER in_group AS next_started_at,
    -- Where the next one is placed by days, it begins for all units of its date.
    lead(CASE axis WHEN 'day' THEN date_start_at ELSE started_at END) OVER in_group
        AS next_begin_at,
    local_day_of(lead(started_at) OVER in_group, zone) AS next_day,
    lead(CASE axis WHEN 'day' THEN is_date_start_day ELSE is_start_day END) OVER in_group
        AS is_next_start_day,
    coalesce(lead(started_at) OVER in_group = started_at, false) AS is_tie,
    date_start_at,
    is_date_start_day
FROM dated
WINDOW in_group AS (
    PARTITION BY circle, patient_key, overlap_group ORDER BY started_at, ended_at, unit_id DESC
);

-- Units that may merge are placed by days where one of them is known by its day.
CREATE TABLE merging_by_day AS
SELECT DISTINCT o.outcome, u.patient_key, p.overlap_group
FROM unit AS u
JOIN study_outcome AS o ON o.overlap = 'merge' AND list_contains(o.drug_classes, u.drug_class)
JOIN unit_place AS p ON p.unit_id = u.unit_id AND p.circle IS NOT DISTINCT FROM o.circle
WHERE u.axis = 'day' AND u.not_counted_reason IS NULL;

-- What every unit would own without the others, on its axis.
CREATE TABLE own_window AS
WITH watched AS (
    SELECT
        u.*
            EXCLUDE (next_started_at, is_tie)
            REPLACE (
                CASE WHEN d.outcome IS NULL THEN u.axis ELSE 'day' END AS axis,
                -- Of several units on a date the last stands for all, where they are placed by days.
                CASE
                    WHEN o.overlap = 'latest' AND u.axis = 'day' THEN p.is_date_start_day
                    ELSE u.is_start_day
                END AS is_start_day
            ),
        CASE
            WHEN o.overlap = 'latest' AND u.axis = 'day' THEN p.date_start_at
            ELSE u.started_at
        END AS begin_at,
        o.outcome,
        o.kind,
        o.is_published,
        o.same_day,
        o.overlap,
        o.overlap = 'merge' AND u.not_counted_reason IS NULL AS may_merge,
        p.overlap_group,
        p.place,
        -- Only the latest index before an event keeps the others from it.
        CASE WHEN o.overlap = 'latest' THEN p.next_started_at END AS next_started_at,
        CASE WHEN o.overlap = 'latest' THEN p.next_begin_at END AS next_begin_at,
        CASE WHEN o.overlap = 'latest' THEN p.next_day END AS next_day,
        p.is_next_start_day,
        p.is_tie AND o.overlap <> 'merge' AS is_tie
    FROM unit AS u
    JOIN study_outcome AS o ON list_contains(o.drug_classes, u.drug_class)
    JOIN unit_place AS p ON p.unit_id = u.unit_id AND p.circle IS NOT DISTINCT FROM o.circle
    LEFT JOIN merging_by_day AS d
      ON d.outcome = o.outcome AND d.patient_key = u.patient_key
     AND d.overlap_group = p.overlap_group AND u.not_counted_reason IS NULL
)
SELECT
    u.unit_id,
    u.patient_key,
    u.site_id,
    u.zone,
    u.drug_class,
    u.overlap,
    u.may_merge,
    u.overlap_group,
    u.place,
    u.age_months,
    u.axis,
    u.started_at,
    u.ended_at,
    u.begin_at,
    u.index_day,
    u.end_day,
    u.next_day,
    u.next_started_at AS next_start_at,
    u.next_begin_at,
    u.is_next_start_day,
    CASE u.axis WHEN 'day' THEN u.next_day ELSE u.next_started_at END AS next_cut,
    CASE u.axis WHEN 'day' THEN u.death_cut_day ELSE u.death_cut END AS death_cut,
    CASE u.axis WHEN 'day' THEN u.observation_cut_day ELSE u.observation_cut END
        AS observation_cut,
    u.is_tie,
    u.is_start_day,
    u.unplaceable_reason,
    u.ineligible_reason,
    u.outcome,
    u.kind,
    u.is_published,
    u.same_day,
    w.window_name,
    CASE u.axis
        WHEN 'day' THEN
            CASE w.start_anchor WHEN 'start' THEN u.index_day ELSE u.end_day END
            + to_days(w.start_days)
        ELSE
            CASE w.start_anchor WHEN 'start' THEN u.started_at ELSE u.ended_at END
            + to_microseconds(w.start_us)
    END AS own_lo,
    CASE u.axis
        WHEN 'day' THEN
            CASE w.end_anchor WHEN 'start' THEN u.index_day ELSE u.end_day END
            + to_days(w.end_days + 1)
        ELSE
            CASE w.end_anchor WHEN 'start' THEN u.started_at ELSE u.ended_at END
            + to_microseconds(w.end_us)
    END AS own_hi,
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
    END AS closing_hi,
    -- From when a look at the child tells of the time after the infusion.
    CASE u.axis
        WHEN 'day' THEN u.end_day + to_days(s.seen_after_days)
        ELSE u.ended_at + to_microseconds(s.seen_after_us)
    END
        AS look_at
FROM watched AS u
CROSS JOIN setting AS s
JOIN outcome_window AS w USING (outcome);

-- Windows that share time with one before them are one with it.
CREATE TABLE merged_window AS
WITH marked AS (
    SELECT *, coalesce(own_lo >= max(own_hi) OVER (
        PARTITION BY outcome, window_name, patient_key, overlap_group ORDER BY own_lo, own_hi, place
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), true) AS is_new
    FROM own_window
    WHERE may_merge AND own_hi > own_lo
),
numbered AS (
    SELECT *, sum(is_new::INTEGER) OVER (
        PARTITION BY outcome, window_name, patient_key, overlap_group ORDER BY own_lo, own_hi, place
        ROWS UNBOUNDED PRECEDING
    ) AS number
    FROM marked
)
SELECT
    unit_id,
    outcome,
    window_name,
    arg_min(unit_id, place) OVER one AS first_unit,
    min(own_lo) OVER one AS lo,
    max(own_hi) OVER one AS hi,
    max(closing_hi) OVER one AS closing_hi,
    max(look_at) OVER one AS look_at
FROM numbered
WINDOW one AS (PARTITION BY outcome, window_name, patient_key, overlap_group, number);

-- What every unit has before anything cuts it.
CREATE TABLE unit_window_span AS
SELECT
    w.* EXCLUDE (closing_hi, look_at),
    m.first_unit IS NOT NULL AND m.first_unit <> w.unit_id AS is_merged,
    CASE WHEN is_merged THEN m.first_unit END AS merged_into,
    CASE WHEN is_merged THEN w.own_lo ELSE coalesce(m.lo, w.own_lo) END AS lo,
    CASE WHEN is_merged THEN w.own_hi ELSE coalesce(m.hi, w.own_hi) END AS hi,
    CASE WHEN is_merged THEN w.closing_hi ELSE coalesce(m.closing_hi, w.closing_hi) END
        AS closing_hi,
    CASE WHEN is_merged THEN w.look_at ELSE coalesce(m.look_at, w.look_at) END AS look_at
FROM own_window AS w
LEFT JOIN merged_window AS m USING (unit_id, outcome, window_name);
