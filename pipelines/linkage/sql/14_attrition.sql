-- From records to counted units: how many are left at each step, and why the others were not.

CREATE TABLE out_attrition AS
SELECT s.study_id, x.site_id, x.step_number, x.step, x.n
FROM (
    SELECT site_id, 1 AS step_number, 'records of study drugs' AS step, count(*) AS n
    FROM record_fate GROUP BY site_id
    UNION ALL
    SELECT site_id, 2, 'left out: ' || why_not, count(*)
    FROM record_fate WHERE why_not IS NOT NULL GROUP BY site_id, why_not
    UNION ALL
    SELECT site_id, 3, 'merged with another record', sum(n_records - 1)
    FROM administration GROUP BY site_id HAVING sum(n_records - 1) > 0
    UNION ALL
    SELECT site_id, 4, 'administrations', count(*) FROM administration GROUP BY site_id
    UNION ALL
    SELECT site_id, 5, 'joined to an earlier one of its course', sum(n_infusions - 1)
    FROM unit GROUP BY site_id HAVING sum(n_infusions - 1) > 0
    UNION ALL
    SELECT site_id, 6, 'units', count(*) FROM unit GROUP BY site_id
    UNION ALL
    SELECT site_id, 7, 'left out: ' || not_counted_reason, count(*)
    FROM unit WHERE not_counted_reason IS NOT NULL GROUP BY site_id, not_counted_reason
    UNION ALL
    SELECT site_id, 8, 'eligible units', count(*)
    FROM unit WHERE not_counted_reason IS NULL GROUP BY site_id
    UNION ALL
    SELECT site_id, 9, 'never linked, no day known: ' || event_type, n FROM event_without_day
) AS x
CROSS JOIN setting AS s;
