-- signals.onset
--
-- Time from the index to the onset: who is still at risk, the share without the event (Kaplan-Meier)
-- and the share that has had it (Aalen-Johansen, death competes), bin by bin, with the quantiles of
-- the time to onset among events. A step chart is `bin_end` against either share. Who leaves in a bin
-- counts as at risk in it. Units that nobody looked at count as free of the event, as in the
-- denominator `all`. Bins in which nobody leaves have no row: nothing changes in them.
--
-- grain: One row per site, study, published outcome, window, stratum (all, drug, ordinal), scale and bin in which a unit leaves, and one for the index.
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value, scale, bin_end
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug or ordinal.
--   stratum_value VARCHAR - Value that the units of the row share; `all` where undivided.
--   scale VARCHAR - hour: full hours since the index, of units placed by instants; day: local dates since the index date, of all units.
--   bin_end BIGINT - End of the bin in hours or days since the index (day: midnights since the start of the index date); 0 for the index itself, before anything has happened.
--   bin BIGINT - Full hours since the index, or local dates since the index date; null in the row of the index.
--   n_at_risk BIGINT - Units still at risk at the start of the bin; null where events have no time on the scale, or there is no curve.
--   n_events BIGINT - Units with their first event in the bin.
--   n_died BIGINT - Units without an event whose patient died in the bin.
--   n_censored BIGINT - Units without an event that the next unit or the end of observation cut in the bin.
--   n_completed BIGINT - Units without an event whose window ended in the bin.
--   event_free DOUBLE - Share without the event by the end of the bin if nobody died or was cut (Kaplan-Meier); null beyond the shortest window, where only units with longer ones are left.
--   event_free_low DOUBLE - Lower end of its 95 % interval (Greenwood's variance, log-log); null before the first event.
--   event_free_high DOUBLE - Upper end of its 95 % interval.
--   cumulative_incidence DOUBLE - Share that has had the event by the end of the bin, those who died without it counted as free of it for good (Aalen-Johansen).
--   cumulative_incidence_low DOUBLE - Lower end of its 95 % interval (log-log); null before the first event.
--   cumulative_incidence_high DOUBLE - Upper end of its 95 % interval.
--   n_units BIGINT - Units of the whole curve; null where the window does not begin with the infusion.
--   n_all_events BIGINT - Of those, units with the event, in whatever bin.
--   n_untimed_events BIGINT - Of those, events that have no time on the scale, such as an hour where only the day is known.
--   onset_p10 BIGINT - Bin by which a tenth of the events have begun: the time is known to lie in it, not where (interval-censored by the bin). Null without events, or where some have no time on the scale.
--   onset_median BIGINT - Bin by which half of the events have begun.
--   onset_p90 BIGINT - Bin by which nine tenths of the events have begun.
--   method VARCHAR - How curves and limits were made; units of one patient are taken as independent, so that limits are too narrow where few patients have most events. none without a curve.
--   note VARCHAR - Why a number is missing; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select onset.*
from store.signals.onset as onset
semi join store.reference.outcome as published
    on published.study_id = onset.study_id
    and published.outcome = onset.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value, scale, bin_end
