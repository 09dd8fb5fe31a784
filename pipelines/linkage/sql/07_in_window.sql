-- Where each piece lies for each unit: in the window, before it, or nowhere (sections 1, 4 and 5).

CREATE TABLE piece_in_window AS
SELECT
    w.unit_id,
    w.window_name,
    w.lo,
    w.axis,
    w.started_at,
    p.* EXCLUDE (unit_id, window_name),
    CASE WHEN is_same_day(w.axis, p.time_precision, p.d_lo, w.index_day)
         THEN coalesce(p.own_same_day, w.same_day) ELSE 'after' END AS day_side,
    CASE w.axis WHEN 'day' THEN w.index_day ELSE w.started_at END AS index_at,
    -- What falls before the start is in a window as far as that reaches back before it (control).
    day_side <> 'after' AND NOT (
        day_side = 'before'
        AND meets(w.axis, p.i_lo, p.i_hi, p.d_lo, p.d_hi, w.lo, least(w.cut_at, index_at))
    ) AS is_set_aside,
    day_side = 'exclude' AS is_nowhere,
    meets(w.axis, p.i_lo, p.i_hi, p.d_lo, p.d_hi, w.lo, w.cut_at)
        -- The next unit's own day, known by its day: the next unit's, or nobody's.
        AND NOT (
            coalesce(p.own_same_day, w.same_day) <> 'before' AND p.time_precision = 'day'
            AND p.d_lo IS NOT DISTINCT FROM w.next_day
        ) AS is_met,
    CASE
        WHEN day_side = 'before' THEN w.lo >= index_at
        WHEN w.axis = 'day' THEN p.d_hi <= w.lo
        ELSE p.i_hi <= w.lo
    END AS is_before
FROM unit_window AS w
JOIN episode_piece AS p
  ON p.patient_key = w.patient_key AND p.outcome = w.outcome
 AND coalesce(p.unit_id, w.unit_id) = w.unit_id
 AND coalesce(p.window_name, w.window_name) = w.window_name
WHERE CASE w.axis WHEN 'day' THEN p.d_lo < w.cut_at ELSE p.i_lo < w.cut_at END;

-- The risk window wins over control: an event known by its day never enters both. What merged risk
-- windows took from a control window is outside it.
CREATE TABLE piece_counted AS
SELECT
    *,
    is_met AND NOT is_set_aside AND NOT is_lost
    AND NOT (
        window_name = 'control' AND time_precision = 'day'
        AND EXISTS (
            FROM piece_in_window AS r
            WHERE r.unit_id = p.unit_id AND r.outcome = p.outcome AND r.window_name = 'risk'
              AND r.record_key = p.record_key AND r.is_met AND NOT r.is_set_aside
        )
    ) AS is_in
FROM (
    SELECT *, EXISTS (
        FROM lost_to_risk AS x
        WHERE x.unit_id = w.unit_id AND x.outcome = w.outcome AND x.window_name = w.window_name
          AND meets(w.axis, w.i_lo, w.i_hi, w.d_lo, w.d_hi, x.lo, x.hi)
    ) AS is_lost
    FROM piece_in_window AS w
) AS p;
