-- reference.published
--
-- What others have published on the studies' outcomes: the rows of each study's published.csv.
--
-- grain: One row per study, measure, outcome, window and stratum.
-- key: study_id, measure, outcome, window_name, stratum, stratum_value
-- columns:
--   study_id VARCHAR - Study.
--   measure VARCHAR - What was published: risk.
--   outcome VARCHAR - The study's name of the outcome that comes nearest.
--   window_name VARCHAR - The study's name of the window that comes nearest.
--   stratum VARCHAR - What the published units are divided by: all, drug, ordinal, ...
--   stratum_value VARCHAR - Value that they share.
--   value DOUBLE - Number as printed, a risk as a proportion; null where none was printed.
--   low DOUBLE - Smallest number that the printed one stands for; null where nothing was published.
--   high DOUBLE - Largest number that the printed one stands for; null where nothing was published.
--   n_events_low BIGINT - Fewest events that fit; null where nothing was published.
--   n_events_high BIGINT - Most events that fit; null where nothing was published.
--   n_units BIGINT - Units of the published series; null where nothing was published.
--   is_derived BOOLEAN - Whether events, units or the number were worked out from what is printed.
--   source VARCHAR - Where it was published, and how derived numbers were.

select * from store.reference.published
order by study_id, measure, outcome, window_name, stratum, stratum_value
