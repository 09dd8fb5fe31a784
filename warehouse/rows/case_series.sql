-- Events and time at risk of each patient in risk and control windows, by age band.
--
-- Of units of which both windows are closed and at risk; a unit counts once a window, by its first
-- event, over the time up to the cut. Parameters: study, outcomes.

WITH counted AS (
    SELECT
        o.site_id,
        o.outcome,
        o.patient_key,
        o.unit_id,
        o.window_name = 'risk' AS is_risk,
        o.status = 'event' AS is_event,
        round(o.at_risk_days * 86400e6)::BIGINT AS at_risk_us,
        CASE WHEN o.window_name = 'control' THEN o.cut_reason END AS cut_reason,
        c.drug,
        c.ordinal_in_record,
        coalesce(c.age_band, 'unknown') AS age_band
    FROM linkage.unit_outcome AS o
    JOIN linkage.course AS c USING (study_id, site_id, unit_id)
    WHERE o.study_id = $study
      AND list_contains($outcomes, o.outcome)
      AND o.is_published
      AND o.window_name IN ('risk', 'control')
      AND o.status IN ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
    QUALIFY count(*) OVER (PARTITION BY o.site_id, o.outcome, o.unit_id) = 2
),
stratified AS (
    SELECT *, 'all' AS stratum, 'all' AS stratum_value FROM counted
    UNION ALL
    SELECT *, 'drug', drug FROM counted
    UNION ALL
    SELECT *, 'ordinal', CASE WHEN ordinal_in_record = 1 THEN 'first' ELSE 'later' END FROM counted
)
SELECT
    site_id,
    outcome,
    stratum,
    stratum_value,
    patient_key,
    age_band,
    is_risk,
    count(*) FILTER (WHERE is_event) AS n_events,
    sum(at_risk_us)::BIGINT AS at_risk_us,
    coalesce(bool_or(cut_reason = 'next_unit'), false) AS is_cut_by_next,
    coalesce(bool_or(cut_reason IN ('death', 'observation_end')), false) AS is_cut_by_end
FROM stratified
GROUP BY ALL
HAVING sum(at_risk_us) > 0
ORDER BY site_id, outcome, stratum, stratum_value, patient_key, age_band, is_risk
