-- quality.published_rows
--
-- Which rows of patients this file holds, and why it holds none: de-identified rows are left out as a
-- whole where a combination of what could be known from outside is held by too few patients.
--
-- grain: One row per site.
-- key: site_id
-- columns:
--   site_id VARCHAR - Hospital.
--   row_level VARCHAR - Which rows site.toml asks for: none, deidentified or internal.
--   row_columns VARCHAR[] - What could be known from outside and is told; empty but for deidentified.
--   min_cell BIGINT - Fewest patients that may share a combination of these.
--   n_units BIGINT - Units that could be told: eligible, all their windows closed. Null but for deidentified.
--   n_patients BIGINT - Patients whose units these are.
--   n_combinations BIGINT - Combinations of row_columns that they make.
--   n_small_combinations BIGINT - Of those, how many are held by fewer than min_cell patients.
--   is_told BOOLEAN - Whether the file holds rows of patients.
--   reason VARCHAR - Why it holds none; null where it does.

select * from rows_told
