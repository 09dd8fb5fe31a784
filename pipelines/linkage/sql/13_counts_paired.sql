-- The first and the second unit of each patient, by drug class (signals.comparison).
--
-- Pairs are those of which both units are in the denominator. Whether a second was given at all is
-- counted over all first units in it: who reacts may not come back.

CREATE TABLE first_unit AS
WITH placed AS (
    SELECT c.unit_id, c.patient_key, c.ordinal_in_record, d.drug_class
    FROM out_course AS c
    JOIN (SELECT drug, min(drug_class) AS drug_class FROM study_drug GROUP BY drug) AS d USING (drug)
    WHERE c.ordinal_in_record <= 2
)
SELECT a.unit_id, a.drug_class, b.unit_id AS second_unit
FROM placed AS a
LEFT JOIN placed AS b
  ON b.patient_key = a.patient_key AND b.drug_class = a.drug_class AND b.ordinal_in_record = 2
WHERE a.ordinal_in_record = 1;

CREATE TABLE out_counts_paired AS
SELECT
    any_value(setting.study_id) AS study_id,
    a.site_id,
    a.outcome,
    a.window_name,
    f.drug_class,
    a.d AS denominator,
    count(*) FILTER (WHERE a.is_event AND b.is_event) AS n_both,
    count(*) FILTER (WHERE a.is_event AND NOT b.is_event) AS n_first_only,
    count(*) FILTER (WHERE NOT a.is_event AND b.is_event) AS n_second_only,
    count(*) FILTER (WHERE NOT a.is_event AND NOT b.is_event) AS n_neither,
    count(*) FILTER (WHERE a.is_event) AS n_event,
    count(*) FILTER (WHERE a.is_event AND f.second_unit IS NOT NULL) AS n_event_again,
    count(*) FILTER (WHERE NOT a.is_event AND f.second_unit IS NOT NULL) AS n_none_again,
    count(*) AS n_first
FROM first_unit AS f
JOIN denominator_unit AS a USING (unit_id)
LEFT JOIN denominator_unit AS b
  ON b.unit_id = f.second_unit AND b.outcome = a.outcome AND b.window_name = a.window_name
 AND b.d = a.d
CROSS JOIN setting
GROUP BY a.site_id, a.outcome, a.window_name, f.drug_class, a.d;
