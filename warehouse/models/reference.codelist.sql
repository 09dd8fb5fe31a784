-- reference.codelist
--
-- Codes that map the sources' records to the studies' concepts.
--
-- grain: One row per study, concept, event type, code system and code.
-- key: study_id, concept, event_type, code_system, code, match
-- columns:
--   study_id VARCHAR - Study.
--   concept VARCHAR - The study's name of what the code means.
--   event_type VARCHAR - Event type in which the code is looked for.
--   code_system VARCHAR - rxnorm, loinc, icd10cm, atc, hcpcs, snomed, or a name of the site's mapping.
--   code VARCHAR - The code, or its beginning where match is prefix.
--   match VARCHAR - exact or prefix.
--   label VARCHAR - The code in words.
--   source VARCHAR - Where the code list has it from.

select * from store.reference.codelist order by study_id, concept, event_type, code_system, code
