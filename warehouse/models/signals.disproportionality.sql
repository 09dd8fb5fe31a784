-- signals.disproportionality
--
-- Screening only: whether an outcome is told more often of units of a drug than of the drugs of
-- other classes. A unit stands for a report; nothing is adjusted for, and no child's units are taken
-- together. Null where fewer than 5 drugs outside the class can be compared with.
--
-- grain: One row per site, study, outcome, window and drug.
-- key: site_id, study_id, outcome, window_name, drug
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and drugs.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   drug VARCHAR - The study's name of the drug.
--   drug_class VARCHAR - The drug's class; drugs of it are no comparators.
--   use VARCHAR - What the row may be used for: screening only.
--   n_units BIGINT - Units of the drug in the headline denominator (complete).
--   n_events BIGINT - Of those, units with the event.
--   n_comparator_drugs BIGINT - Drugs of other classes with at least one such unit.
--   n_comparator_units BIGINT - Their units.
--   n_comparator_events BIGINT - Of those, units with the event.
--   expected DOUBLE - Units of the drug with the event, were drug and event independent.
--   prr DOUBLE - Proportional reporting ratio (Evans 2001).
--   prr_low DOUBLE - Lower end of its 95 % interval.
--   prr_high DOUBLE - Upper end of its 95 % interval.
--   ror DOUBLE - Reporting odds ratio (van Puijenbroek 2002).
--   ror_low DOUBLE - Lower end of its 95 % interval.
--   ror_high DOUBLE - Upper end of its 95 % interval.
--   chi_square_pearson DOUBLE - Chi-square of independence, without correction.
--   chi_square_yates DOUBLE - The same with Yates' correction for continuity.
--   ic DOUBLE - Information component: shrunk log2 of n_events over expected (Noren 2013).
--   ic025 DOUBLE - Lower end of its 95 % interval, gamma form.
--   ic975 DOUBLE - Upper end of its 95 % interval, gamma form.
--   ebgm DOUBLE - Empirical Bayes geometric mean of observed over expected (DuMouchel 1999); its prior is fitted to all pairs of drug and outcome of the window.
--   eb05 DOUBLE - 5 % quantile of its posterior: lower end of the 90 % interval.
--   eb95 DOUBLE - 95 % quantile of its posterior.
--   is_evans_met BOOLEAN - Whether PRR is at least 2, Yates' chi-square at least 4 and n_events at least 3; null where there is no PRR.
--   note VARCHAR - Why numbers are missing; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select disproportionality.*
from store.signals.disproportionality as disproportionality
semi join store.reference.outcome as published
    on published.study_id = disproportionality.study_id
    and published.outcome = disproportionality.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, drug
