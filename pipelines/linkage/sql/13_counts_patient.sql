-- How many patients have so many events in so many units (signals.risk_gee).
--
-- Of the headline denominator, and of strata that a statistician looks at first: all that estimating
-- equations without covariates need to know of anybody.

CREATE TABLE out_counts_patient AS
SELECT
    any_value(setting.study_id) AS study_id,
    c.site_id,
    c.outcome,
    c.window_name,
    s.stratum,
    s.stratum_value,
    p.n AS n_units,
    p.e AS n_events,
    count(*) AS n_patients
FROM patient_cell AS p
JOIN denominator_cell AS c ON c.cell = p.cell AND c.denominator = 'complete'
JOIN stratum_number AS s ON s.number = p.number AND s.stratum IN ('all', 'drug', 'ordinal')
CROSS JOIN setting
GROUP BY c.site_id, c.outcome, c.window_name, s.stratum, s.stratum_value, p.n, p.e;
