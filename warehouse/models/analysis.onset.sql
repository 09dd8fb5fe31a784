-- analysis.onset
--
-- When it begins: per outcome and window the quantiles of the time to onset, and the share that has had
-- it by the end of the shortest window.
--
-- kind: view
-- grain: One row per site, study, outcome, window and scale, undivided.
-- key: site_id, study_id, outcome, window_name, scale
-- columns:
--   study_id VARCHAR - Study.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   label VARCHAR - The outcome in words.
--   window_name VARCHAR - The study's name of the window.
--   scale VARCHAR - hour or day: what the times of the row are.
--   n_units BIGINT - Units of the curve.
--   n_events BIGINT - Of those, units with the event in their whole window.
--   n_untimed_events BIGINT - Of those, events that have no time on the scale.
--   onset_p10 BIGINT - Full hours, or days, by which a tenth of the events have begun.
--   onset_median BIGINT - The same for half of them.
--   onset_p90 BIGINT - The same for nine tenths of them.
--   until BIGINT - Hours or days since the index up to which the curve is told.
--   incidence_percent DOUBLE - Share of units that has had the event by then, per cent (Aalen-Johansen).
--   incidence_low_percent DOUBLE - Lower end of its 95 % interval, per cent.
--   incidence_high_percent DOUBLE - Upper end of its 95 % interval, per cent.
--   note VARCHAR - Why there is no curve, or no limits; null otherwise.

select
    onset.study_id,
    onset.site_id,
    onset.outcome,
    outcome.label,
    onset.window_name,
    onset.scale,
    onset.n_units,
    onset.n_all_events as n_events,
    onset.n_untimed_events,
    onset.onset_p10,
    onset.onset_median,
    onset.onset_p90,
    case when onset.cumulative_incidence is not null then onset.bin_end end as until,
    100 * onset.cumulative_incidence as incidence_percent,
    100 * onset.cumulative_incidence_low as incidence_low_percent,
    100 * onset.cumulative_incidence_high as incidence_high_percent,
    onset.note
from signals.onset as onset
left join reference.outcome as outcome
    on outcome.study_id = onset.study_id and outcome.outcome = onset.outcome
where onset.stratum = 'all'
-- The last bin of the curve; without one, any row says why.
qualify row_number() over (
    partition by onset.study_id, onset.site_id, onset.outcome, onset.window_name, onset.scale
    order by onset.cumulative_incidence is null, onset.bin_end desc
) = 1
order by onset.study_id, onset.site_id, onset.outcome, onset.window_name, onset.scale
