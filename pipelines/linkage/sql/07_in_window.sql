-- Where each piece lies for each unit: in the window, before it, or nowhere (sections 1, 4 and 5).

CREATE TABLE piece_in_window AS
WITH sided AS (
    SELECT
        w.unit_id,
        w.window_name,
        w.overlap,
        w.overlap_group,
        w.lo,
        w.cut_at,
        w.kept_until,
        w.axis,
        w.started_at,
        w.index_day,
        w.is_next_start_day,
        w.next_start_at,
        p.* EXCLUDE (unit_id, window_name),
        coalesce(p.own_same_day, w.same_day) AS same_day,
        side_of(
            coalesce(p.own_same_day, w.same_day), w.is_start_day, w.index_day, w.begin_at,
            p.time_precision, p.i_lo, p.d_lo
        ) AS own_side,
        CASE WHEN w.next_day IS NOT NULL THEN side_of(
            coalesce(p.own_same_day, w.same_day), w.is_next_start_day, w.next_day, w.next_begin_at,
            p.time_precision, p.i_lo, p.d_lo
        ) END AS next_side
    FROM unit_window AS w
    JOIN episode_piece AS p
      ON p.patient_key = w.patient_key AND p.outcome = w.outcome
     AND coalesce(p.unit_id, w.unit_id) = w.unit_id
     AND coalesce(p.window_name, w.window_name) = w.window_name
    WHERE CASE w.axis WHEN 'day' THEN p.d_lo < w.kept_until ELSE p.i_lo < w.kept_until END
)
SELECT
    * EXCLUDE (same_day, next_side, next_start_at, is_next_start_day, kept_until, cut_at),
    own_side = 'exclude' AS is_nowhere,
    holds(
        axis, own_side, started_at, index_day, next_side,
        CASE WHEN NOT is_next_start_day THEN next_start_at END,
        i_lo, i_hi, d_lo, d_hi, lo, kept_until
    ) AS is_met,
    -- Before the infusion on its own date, and in no window of a unit that is placed by days.
    axis = 'day' AND own_side = 'before' AND d_lo = index_day AS is_aside,
    CASE
        WHEN is_nowhere THEN false
        WHEN is_aside THEN lo >= index_day
        WHEN axis = 'day' THEN d_hi <= lo
        ELSE least(i_hi, CASE WHEN own_side = 'before' THEN started_at END) <= lo
    END AS is_before
FROM sided
WHERE is_met OR CASE axis WHEN 'day' THEN d_lo ELSE i_lo END < greatest(cut_at, lo);

-- The risk window wins over control: nothing enters both. What risk windows took from a control window
-- is outside it.
CREATE TABLE piece_counted AS
SELECT
    *,
    is_met AND NOT is_lost
    AND NOT (
        window_name = 'control'
        AND EXISTS (
            FROM piece_in_window AS r
            WHERE r.patient_key = p.patient_key AND r.outcome = p.outcome
              AND r.overlap_group = p.overlap_group AND r.window_name = 'risk'
              AND r.record_key = p.record_key AND r.is_met
              AND (r.unit_id = p.unit_id OR p.overlap <> 'merge')
        )
    ) AS is_in
FROM (
    SELECT *, is_aside OR EXISTS (
        FROM lost_to_risk AS x
        WHERE x.unit_id = w.unit_id AND x.outcome = w.outcome AND x.window_name = w.window_name
          AND meets(
              x.risk_axis,
              w.i_lo,
              least(w.i_hi, CASE WHEN w.own_side = 'before' THEN w.started_at END),
              w.d_lo,
              w.d_hi,
              x.risk_lo,
              x.risk_hi
          )
    ) AS is_lost
    FROM piece_in_window AS w
) AS p;
