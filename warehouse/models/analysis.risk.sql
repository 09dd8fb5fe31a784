-- analysis.risk
--
-- Every headline risk that has units, whole and by stratum, as a sentence with its counts and its
-- interval, and with the reasons to read it with care. The denominators beside the headline are in
-- signals.risk.
--
-- kind: view
-- grain: One row per site, study, outcome, window, stratum and value.
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value
-- columns:
--   study_id VARCHAR - Study.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   label VARCHAR - The outcome in words.
--   window_name VARCHAR - The study's name of the window.
--   window_words VARCHAR - From when to when it looks.
--   stratum VARCHAR - What the units are divided by: all, drug, setting, age_band, sex, ...
--   stratum_value VARCHAR - Value that the units of the row share; `all` where undivided.
--   n_events BIGINT - Units with the event.
--   n_units BIGINT - Units in the denominator.
--   n_patients BIGINT - Patients with at least one of these units.
--   denominator VARCHAR - Which units are counted.
--   denominator_words VARCHAR - The same spelled out.
--   risk_percent DOUBLE - Risk, per cent of the units.
--   ci_low_percent DOUBLE - Lower end of the 95 % interval, per cent.
--   ci_high_percent DOUBLE - Upper end of the 95 % interval, per cent.
--   in_words VARCHAR - Events, units, patients, risk and interval as one sentence.
--   cautions VARCHAR[] - Why to read it with care: few patients, units that are taken as without event though nobody looked, open windows, what the estimate says of itself. Empty where nothing is known.
--   n_not_known BIGINT - Units of the denominator that are taken as without event though nobody looked, tested or could tell.
--   n_open BIGINT - Units whose window is still open; not in the denominator.
--   n_censored BIGINT - Closed units without event whose follow-up ended inside the window; not in the denominator.
--   signal_key VARCHAR - Key of the risk, for `dripwatch explain --signal`.

with looked as (
    select
        *,
        n_units - coalesce(n_tested, n_observed, n_determined, n_units) as n_not_known
    from signals.risk
    where is_headline and n_units > 0
)
select
    risk.study_id,
    risk.site_id,
    risk.outcome,
    outcome.label,
    risk.window_name,
    win.in_words as window_words,
    risk.stratum,
    risk.stratum_value,
    risk.n_events,
    risk.n_units,
    risk.n_patients,
    risk.denominator,
    term.meaning as denominator_words,
    100 * risk.risk as risk_percent,
    100 * risk.ci_low as ci_low_percent,
    100 * risk.ci_high as ci_high_percent,
    printf(
        '%d of %d units in %d patients: %.1f %% (95 %% interval %.1f to %.1f)',
        risk.n_events, risk.n_units, risk.n_patients,
        100 * risk.risk, 100 * risk.ci_low, 100 * risk.ci_high
    ) as in_words,
    list_filter(
        [
            -- With few clusters no interval is honest, however it was made.
            case when risk.n_patients < 20 then 'fewer than 20 patients' end,
            case when risk.n_not_known > 0 then
                risk.n_not_known || ' of ' || risk.n_units
                || ' units are taken as without event: nobody looked, tested or could tell'
            end,
            case when risk.n_open > 0 then risk.n_open || ' windows are still open' end,
            risk.note
        ],
        lambda caution: caution is not null
    ) as cautions,
    risk.n_not_known,
    risk.n_open,
    risk.n_censored,
    risk.signal_key
from looked as risk
left join reference.outcome as outcome using (study_id, outcome)
left join reference.window as win using (study_id, outcome, window_name)
left join reference.term as term on term.kind = 'denominator' and term.term = risk.denominator
order by
    risk.study_id, risk.site_id, risk.outcome, risk.window_name,
    risk.stratum <> 'all', risk.stratum, risk.stratum_value
