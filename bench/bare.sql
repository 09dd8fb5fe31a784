-- The peer: the risk of fever and of low calcium, straight from the CSV files, the way one would
-- write it in an afternoon. No checks, no log, no versions, no zones, no episodes, no baseline,
-- no ownership, no strata: what it leaves out is what the ratio pays for.

CREATE TABLE dose AS
SELECT patient_id, code, CAST("start" AS TIMESTAMP) AS started,
       coalesce(CAST("end" AS TIMESTAMP), CAST("start" AS TIMESTAMP)) AS ended
FROM read_csv('{folder}/medications.csv', all_varchar = true)
WHERE category = 'infusion' AND status = 'completed';

CREATE TABLE course AS
WITH marked AS (
    SELECT *, coalesce(started > lag(ended) OVER w + CASE code WHEN '11473' THEN INTERVAL 4 DAY
                                                     ELSE INTERVAL 0 DAY END, true) AS fresh
    FROM dose
    WINDOW w AS (PARTITION BY patient_id, code ORDER BY started)
),
numbered AS (
    SELECT *, sum(fresh::INTEGER) OVER (PARTITION BY patient_id, code ORDER BY started) AS n
    FROM marked
)
SELECT patient_id, code, n, min(started) AS started, max(ended) + INTERVAL 72 HOUR AS until
FROM numbered
GROUP BY patient_id, code, n;

CREATE TABLE hot AS
SELECT patient_id, CAST(measured AS TIMESTAMP) AS at
FROM read_csv('{folder}/vitals.csv', all_varchar = true)
WHERE code = '8310-5' AND TRY_CAST(value AS DOUBLE) >= CASE unit WHEN '[degF]' THEN 100.4 ELSE 38 END;

CREATE TABLE low AS
SELECT patient_id, CAST(collected AS TIMESTAMP) AS at
FROM read_csv('{folder}/labs.csv', all_varchar = true)
WHERE code IN ('17861-6', '2000-8')
  AND TRY_CAST(value AS DOUBLE) < CASE unit WHEN 'mmol/L' THEN 2.0 ELSE 8.0 END;

CREATE TABLE risk AS
SELECT outcome, count(*) AS n_units, count(*) FILTER (happened) AS n_events,
       n_events / n_units AS risk
FROM (
    SELECT 'fever' AS outcome, EXISTS (
        FROM hot AS h WHERE h.patient_id = c.patient_id AND h.at >= c.started AND h.at < c.until
    ) AS happened
    FROM course AS c
    UNION ALL
    SELECT 'low calcium', EXISTS (
        FROM low AS l WHERE l.patient_id = c.patient_id AND l.at >= c.started AND l.at < c.until
    )
    FROM course AS c
)
GROUP BY outcome;
