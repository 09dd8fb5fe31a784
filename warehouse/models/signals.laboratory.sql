-- signals.laboratory
--
-- Laboratory values around units: quantiles over patients by 24-hour days since the start, of each
-- analyte that a published outcome grades. A patient counts once a day, with the median of its
-- results. Who is tested is no sample: draws follow symptoms, and many units have none.
--
-- grain: One row per site, study, analyte and day with a result.
-- key: site_id, study_id, concept, day
-- columns:
--   study_id VARCHAR - Study whose units and analytes.
--   site_id VARCHAR - Hospital.
--   concept VARCHAR - The study's name of the analyte, such as calcium_total; as reported, not corrected for albumin.
--   unit VARCHAR - Unit of the quantiles, into which results are converted.
--   day BIGINT - Full 24-hour days since the start of the unit: 0 for the first 24 hours, -1 for the 24 hours before. Results known by their day alone count by local dates, and none on the index date. A result up to 14 days after an eligible unit belongs to the latest such one, else it comes before the next.
--   n_patients BIGINT - Patients with a usable result on that day.
--   n_results BIGINT - Their results.
--   p10 DOUBLE - Tenth percentile over patients.
--   p25 DOUBLE - First quartile.
--   median DOUBLE - Median.
--   p75 DOUBLE - Third quartile.
--   p90 DOUBLE - Ninetieth percentile.
--   run_id VARCHAR - Run that last changed the row.

select * from store.signals.laboratory
order by site_id, study_id, concept, day
