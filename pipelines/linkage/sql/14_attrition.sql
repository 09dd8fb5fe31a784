-- From records to counted units: how many are left at each step, and why the others were not.
--
-- Nothing is lost between two steps: records = left out + merged + restarts + administrations,
-- administrations = joined to their course + units, units = left out + eligible. By patient, so that
-- a patient who is linked again can be taken out and put in again.

-- Events of the study that fell into no window, for want of a day.
CREATE MACRO of_study_without_day(table_name, type_name) AS TABLE
SELECT type_name AS event_type, e.site_id, e.patient_key, count(*) AS n
FROM query_table(table_name) AS e
SEMI JOIN code_meaning AS c
  ON c.event_type = type_name AND c.code_system = e.code_system AND c.code = e.code
-- One without a start may be an event all the same, where the outcome says so.
ANTI JOIN out_evidence AS o ON o.record_key = e.record_key
WHERE e.occurred_at IS NULL OR e.time_precision IS NULL OR e.time_precision NOT IN ('instant', 'day')
GROUP BY e.site_id, e.patient_key;

CREATE TABLE event_without_day AS
FROM of_study_without_day('raw_medication', 'MedicationGiven')
UNION ALL FROM of_study_without_day('raw_adverse_event', 'AdverseEventReported')
UNION ALL FROM of_study_without_day('raw_diagnosis', 'DiagnosisRecorded')
UNION ALL FROM of_study_without_day('raw_lab_collected', 'LabResulted')
UNION ALL FROM of_study_without_day('raw_vital', 'VitalSignMeasured');

-- Records of a study drug, each with the reason why it is no administration. One that names no
-- patient takes part in nothing else.
CREATE TABLE counted_record AS
SELECT site_id, patient_key, why_not FROM record_fate
UNION ALL
SELECT i.site_id, NULL, 'no_patient'
FROM infusion_event AS i
JOIN study_drug AS d USING (concept)
WHERE i.patient_key IS NULL;

CREATE TABLE out_attrition AS
SELECT s.study_id, x.site_id, x.patient_key, x.step_number, x.step, x.n::BIGINT AS n
FROM (
    SELECT site_id, patient_key, 1 AS step_number, 'records of study drugs' AS step, count(*) AS n
    FROM counted_record GROUP BY site_id, patient_key
    UNION ALL
    SELECT site_id, patient_key, 2, 'left out: ' || why_not, count(*)
    FROM counted_record WHERE why_not IS NOT NULL GROUP BY site_id, patient_key, why_not
    UNION ALL
    SELECT site_id, patient_key, 3, 'merged with another record', sum(n_records - n_parts)
    FROM administration GROUP BY site_id, patient_key HAVING sum(n_records - n_parts) > 0
    UNION ALL
    SELECT site_id, patient_key, 3, 'restart of a stopped infusion', sum(n_parts - 1)
    FROM administration GROUP BY site_id, patient_key HAVING sum(n_parts - 1) > 0
    UNION ALL
    SELECT site_id, patient_key, 4, 'administrations', count(*)
    FROM administration GROUP BY site_id, patient_key
    UNION ALL
    SELECT site_id, patient_key, 5, 'joined to an earlier one of its course', sum(n_infusions - 1)
    FROM unit GROUP BY site_id, patient_key HAVING sum(n_infusions - 1) > 0
    UNION ALL
    SELECT site_id, patient_key, 6, 'units', count(*) FROM unit GROUP BY site_id, patient_key
    UNION ALL
    SELECT site_id, patient_key, 7, 'left out: ' || not_counted_reason, count(*)
    FROM unit WHERE not_counted_reason IS NOT NULL GROUP BY site_id, patient_key, not_counted_reason
    UNION ALL
    SELECT site_id, patient_key, 8, 'eligible units', count(*)
    FROM unit WHERE not_counted_reason IS NULL GROUP BY site_id, patient_key
    UNION ALL
    SELECT site_id, patient_key, 9, 'never linked, no day known: ' || event_type, n
    FROM event_without_day
) AS x
CROSS JOIN setting AS s;
