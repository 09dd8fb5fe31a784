-- Risk and control window of the same patient (signals.self_controlled).
--
-- Of units of which both windows are closed and at risk; only patients with an event in one of them
-- tell anything. Time at risk is that up to the cut, events or not.

CREATE TABLE out_counts_self_controlled AS
WITH windows AS (
    SELECT
        r.site_id,
        r.unit_id,
        r.patient_key,
        r.outcome,
        (r.status = 'event')::BIGINT AS risk_e,
        (c.status = 'event')::BIGINT AS control_e,
        round(r.at_risk_days * 86400e6)::BIGINT AS risk_us,
        round(c.at_risk_days * 86400e6)::BIGINT AS control_us,
        c.cut_reason
    FROM out_unit_outcome AS r
    JOIN out_unit_outcome AS c
      ON c.unit_id = r.unit_id AND c.outcome = r.outcome AND c.window_name = 'control'
    WHERE r.window_name = 'risk' AND r.is_published
      AND r.status IN ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
      AND c.status IN ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
),
patient AS (
    SELECT
        b.site_id,
        b.outcome,
        u.stratum,
        u.stratum_value,
        sum(b.risk_e)::BIGINT AS n_risk_events,
        sum(b.control_e)::BIGINT AS n_control_events,
        sum(b.risk_us)::BIGINT AS risk_us,
        sum(b.control_us)::BIGINT AS control_us,
        bool_or(b.cut_reason = 'next_unit') AS is_cut_by_next,
        bool_or(b.cut_reason IN ('death', 'observation_end')) AS is_cut_by_end
    FROM windows AS b
    JOIN unit_stratum AS u ON u.unit_id = b.unit_id AND u.stratum IN ('all', 'drug', 'ordinal')
    GROUP BY b.site_id, b.outcome, u.stratum, u.stratum_value, b.patient_key
    HAVING sum(b.risk_e) + sum(b.control_e) > 0
)
SELECT
    any_value(setting.study_id) AS study_id,
    site_id,
    outcome,
    stratum,
    stratum_value,
    sum(n_risk_events)::BIGINT AS n_risk_events,
    sum(n_control_events)::BIGINT AS n_control_events,
    sum(risk_us)::BIGINT AS risk_us,
    sum(control_us)::BIGINT AS control_us,
    count(*) FILTER (WHERE is_cut_by_next) AS n_cut_by_next,
    count(*) FILTER (WHERE is_cut_by_end) AS n_cut_by_end,
    count(*) AS n_patients
FROM patient
CROSS JOIN setting
GROUP BY site_id, outcome, stratum, stratum_value;
