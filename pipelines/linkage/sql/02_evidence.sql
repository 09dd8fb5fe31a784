-- Which doses count: administered, else dispensed, else ordered (docs/windows.md, section 2).
--
-- An order or dispense is covered by an administration with the same request id, else by the
-- nearest unclaimed one of the same drug and patient. What is covered is not a second dose. Each
-- administration answers at most one order and at most one dispense that do not name it. All
-- evidence takes part here, whichever the study counts: an order that was carried out is no
-- "ordered" unit of a study of orders.

-- What is known of a request, under any study drug: one order may name several.
CREATE TABLE request AS
SELECT
    patient_key,
    order_key,
    bool_or(evidence = 'administered' AND is_in_force) AS is_given,
    bool_or(evidence = 'administered' AND status = 'not-done') AS is_refused,
    bool_or(evidence = 'dispensed' AND why_not IS NULL) AS is_dispensed,
    bool_or(evidence = 'dispensed' AND is_in_force AND why_not = 'unplaceable')
        AS is_dispensed_undated,
    bool_or(evidence = 'ordered' AND why_not IS NULL) AS is_ordered
FROM study_record
WHERE order_key IS NOT NULL
GROUP BY patient_key, order_key;

CREATE TABLE dose_evidence AS
WITH asked AS (
    SELECT
        r.patient_key,
        r.drug,
        r.dose,
        bool_or(q.is_given) AS is_given,
        bool_or(q.is_refused) AS is_refused,
        bool_or(q.is_dispensed) AS is_dispensed,
        bool_or(q.is_dispensed_undated) AS is_dispensed_undated,
        bool_or(q.is_ordered) AS is_ordered
    FROM dose_record AS r
    JOIN request AS q USING (patient_key, order_key)
    GROUP BY r.patient_key, r.drug, r.dose
)
SELECT
    d.* EXCLUDE (record_keys, source_flags),
    coalesce(a.is_dispensed, false) AS is_dispensed,
    coalesce(a.is_ordered, false) AS is_ordered,
    d.evidence = 'ordered' AND coalesce(a.is_dispensed_undated, false) AS is_dispensed_undated,
    CASE
        WHEN d.evidence = 'administered' THEN NULL
        WHEN a.is_given THEN 'covered_by_administration'
        -- All that is told of it is that it was not given.
        WHEN a.is_refused THEN 'not_given'
        WHEN d.evidence = 'ordered' AND a.is_dispensed THEN 'covered_by_dispense'
    END AS reason
FROM dose AS d
LEFT JOIN asked AS a USING (patient_key, drug, dose);

-- Closest pair first, each dose in one pair at most; days are counted where either is only a day.
CREATE MACRO nearest(seekers, targets) AS TABLE
WITH apart AS (
    SELECT
        s.patient_key,
        s.drug,
        s.dose AS seeker,
        t.dose AS target,
        CASE
            WHEN s.is_day_precision OR t.is_day_precision
                THEN abs(epoch_us(s.first_day) - epoch_us(t.first_day))
            ELSE abs(epoch_us(s.started_at) - epoch_us(t.started_at))
        END AS apart_us,
        (s.started_at, t.started_at, s.infusion_key, t.infusion_key) AS tie
    FROM query_table(seekers) AS s
    JOIN query_table(targets) AS t USING (patient_key, drug)
),
queue AS (
    SELECT
        patient_key,
        drug,
        list([{'seeker': seeker, 'target': target}] ORDER BY apart_us, tie) AS pairs
    FROM apart
    WHERE apart_us <= (SELECT cover_us FROM setting)
    GROUP BY patient_key, drug
),
taken AS (
    SELECT patient_key, drug, unnest(list_reduce(
        pairs,
        lambda kept, one: CASE
            WHEN len(list_filter(
                kept,
                lambda k: k.seeker = one[1].seeker OR k.target = one[1].target
            )) > 0 THEN kept
            ELSE kept || one
        END
    )) AS pair
    FROM queue
)
SELECT patient_key, drug, pair.seeker AS seeker, pair.target AS target FROM taken;

-- Dispenses that name no administration, and the administrations that no dispense names.
CREATE VIEW open_dispense AS
FROM dose_evidence WHERE evidence = 'dispensed' AND reason IS NULL;

CREATE VIEW undispensed AS
FROM dose_evidence WHERE evidence = 'administered' AND NOT is_dispensed;

CREATE TABLE dispense_match AS FROM nearest('open_dispense', 'undispensed');

CREATE VIEW open_order AS
FROM dose_evidence WHERE evidence = 'ordered' AND reason IS NULL;

-- An administration that answers the dispense of an order answers that order.
CREATE VIEW unordered AS
FROM dose_evidence AS d
WHERE d.evidence = 'administered' AND NOT d.is_ordered
  AND NOT EXISTS (
    FROM dispense_match AS m
    JOIN dose_evidence AS s
      ON s.patient_key = m.patient_key AND s.drug = m.drug AND s.dose = m.seeker AND s.is_ordered
    WHERE m.patient_key = d.patient_key AND m.drug = d.drug AND m.target = d.dose
  );

CREATE TABLE order_match AS FROM nearest('open_order', 'unordered');

-- What is left of orders and dispenses is matched in the same way.
CREATE VIEW left_order AS
FROM open_order AS o
ANTI JOIN order_match AS m
  ON m.patient_key = o.patient_key AND m.drug = o.drug AND m.seeker = o.dose;

CREATE VIEW left_dispense AS
FROM open_dispense AS o
ANTI JOIN dispense_match AS m
  ON m.patient_key = o.patient_key AND m.drug = o.drug AND m.seeker = o.dose
WHERE NOT o.is_ordered;

CREATE TABLE supply_match AS FROM nearest('left_order', 'left_dispense');

CREATE TABLE covered AS
SELECT patient_key, drug, dose, reason FROM dose_evidence WHERE reason IS NOT NULL
UNION ALL
SELECT patient_key, drug, seeker, 'covered_by_administration' FROM dispense_match
UNION ALL
SELECT patient_key, drug, seeker, 'covered_by_administration' FROM order_match
UNION ALL
SELECT patient_key, drug, seeker, 'covered_by_dispense' FROM supply_match;

-- Why a record is no unit of its own, or null.
CREATE TABLE record_fate AS
SELECT
    r.record_key,
    r.site_id,
    r.patient_key,
    r.drug,
    CASE
        WHEN r.why_not = 'unplaceable' THEN r.why_not
        WHEN NOT list_contains(s.evidence, r.evidence) THEN 'evidence_not_counted'
        ELSE coalesce(r.why_not, c.reason)
    END AS why_not,
    c.reason AS covered
FROM study_record AS r
CROSS JOIN setting AS s
LEFT JOIN dose_record AS d USING (patient_key, drug, record_key)
LEFT JOIN covered AS c ON c.patient_key = d.patient_key AND c.drug = d.drug AND c.dose = d.dose;

CREATE TABLE administration AS
SELECT d.*, e.is_dispensed_undated
FROM dose AS d
JOIN dose_evidence AS e USING (patient_key, drug, dose)
CROSS JOIN setting AS s
ANTI JOIN covered AS c
  ON c.patient_key = d.patient_key AND c.drug = d.drug AND c.dose = d.dose
WHERE list_contains(s.evidence, d.evidence);
