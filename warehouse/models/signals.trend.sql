-- signals.trend
--
-- The headline risk by calendar quarter of the index, around the median of all quarters, with two
-- run rules (Anhoj and Olesen 2014): the risk has shifted where it stays too long on one side of the
-- median, or crosses it too seldom. It asks for a look; it is no test.
--
-- grain: One row per site, study, outcome, window and calendar quarter with units.
-- key: site_id, study_id, outcome, window_name, calendar_quarter
-- columns:
--   study_id VARCHAR - Study that defines outcome and window.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   calendar_quarter VARCHAR - Quarter of the index by local date, such as 2025-Q3.
--   n_units BIGINT - Units of the quarter in the headline denominator (complete).
--   n_events BIGINT - Of those, units with the event.
--   n_patients BIGINT - Patients with at least one of these units.
--   n_open BIGINT - Units of the quarter whose window is still open: it is not whole yet.
--   risk DOUBLE - n_events / n_units, a proportion from 0 to 1; null where there is no unit.
--   ci_low DOUBLE - Lower end of its 95 % interval, as in signals.risk.
--   ci_high DOUBLE - Upper end of its 95 % interval.
--   centre_risk DOUBLE - Centre line: the median of the risks of all quarters with units.
--   side VARCHAR - Where the quarter lies: above, below or on the centre line; null without units.
--   run_position BIGINT - How many quarters in a row, up to this one, are on its side; quarters on the line are passed over. Null on the line.
--   n_useful_quarters BIGINT - Quarters of the series that are above or below the line.
--   longest_run BIGINT - Quarters of the longest run on one side, of the whole series.
--   longest_run_limit BIGINT - The longest that chance lets pass: round(log2(n_useful_quarters) + 3).
--   crossings BIGINT - How often the series crosses the line.
--   crossings_limit BIGINT - The fewest that chance lets pass: 5 % quantile of n_useful_quarters - 1 tosses of a coin.
--   is_shifted BOOLEAN - Whether longest_run is above its limit or crossings below theirs; null where the rules can't tell.
--   note VARCHAR - Why a number is missing, or the rules can't tell; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select trend.*
from store.signals.trend as trend
semi join store.reference.outcome as published
    on published.study_id = trend.study_id
    and published.outcome = trend.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, calendar_quarter
