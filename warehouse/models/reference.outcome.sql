-- reference.outcome
--
-- Outcomes of the studies, published or only read by composites.
--
-- grain: One row per study and outcome.
-- key: study_id, outcome
-- columns:
--   study_id VARCHAR - Study.
--   outcome VARCHAR - Name of the outcome.
--   label VARCHAR - Name in words.
--   kind VARCHAR - grade, threshold, ratio, vital_sign, symptom or composite.
--   is_published BOOLEAN - Whether rows and risks of it are published.
--   definition VARCHAR - Settings of the rule, defaults spelled out, as JSON.
--   in_words VARCHAR - The rule in sentences: what makes an event, where it counts, who owns it, among whom it is counted.

select * from store.reference.outcome order by study_id, outcome
