-- What is told of each dose, and which dose is the restart of one that was stopped (docs/windows.md,
-- section 2).
--
-- What starts next after a stopped infusion ended, at most the restart time later, is the same
-- administration, interrupted: under a common order, or while all that was given is within what was
-- prescribed, or where that cannot be told. A restart may be stopped, and restarted, again.

CREATE MACRO is_one_told(n_records, n_sources, n_told) AS n_records = n_sources AND n_told = 1;

CREATE TABLE told_dose AS
SELECT
    patient_key,
    drug,
    dose,
    first(record_key ORDER BY started_at, record_key) AS infusion_key,
    list(record_key ORDER BY started_at, record_key) AS record_keys,
    first(site_id ORDER BY started_at, record_key) AS site_id,
    first(zone ORDER BY started_at, record_key) AS zone,
    any_value(drug_class) AS drug_class,
    any_value(course_gap_us) AS course_gap_us,
    min(started_at) AS started_at,
    max(closed_at) AS ended_at,
    bool_or(time_precision = 'day') AS is_day_precision,
    local_day_of(min(started_at), first(zone ORDER BY started_at, record_key)) AS first_day,
    local_day_of(max(closed_at), first(zone ORDER BY started_at, record_key)) AS last_day,
    -- Where one source tells the end, that another tells none is no gap in what is known.
    bool_and(is_end_missing) AS is_end_missing,
    bool_and(is_end_missing) AND bool_or(evidence = 'administered' AND status = 'in-progress')
        AS is_running,
    -- The record that ends last tells how it ended; of equal ends, any that says stopped.
    coalesce(max(closed_at) FILTER (WHERE status = 'stopped') = max(closed_at), false)
        AS is_stopped,
    -- One bag was stopped and the next one followed.
    coalesce(
        min(closed_at) FILTER (WHERE status = 'stopped' AND has_duration)
            <= max(started_at) FILTER (WHERE has_duration),
        false
    ) AS is_interrupted,
    CASE WHEN is_stopped THEN 'stopped'
         ELSE coalesce(min(status) FILTER (WHERE status <> 'stopped'), min(status)) END AS status,
    any_value(evidence) AS evidence,
    min(route) AS route,
    -- Two records of one source may be two bags or one dose told twice: no sum is safe. Sources
    -- that tell one record each, and the same dose, tell that dose.
    CASE WHEN is_one_told(count(*), count(DISTINCT source),
        count(DISTINCT (dose_value, dose_unit)) FILTER (WHERE dose_value IS NOT NULL)
    ) THEN min(dose_value) FILTER (WHERE dose_value IS NOT NULL) END AS dose_value,
    CASE WHEN is_one_told(count(*), count(DISTINCT source),
        count(DISTINCT (dose_value, dose_unit)) FILTER (WHERE dose_value IS NOT NULL)
    ) THEN min(dose_unit) FILTER (WHERE dose_value IS NOT NULL) END AS dose_unit,
    first(encounter_key ORDER BY started_at, record_key) AS encounter_key,
    count(*) AS n_records,
    1 AS n_parts,
    -- Only what is said of times and codes; what checks remarked on is told in `quality`.
    list_sort(list_intersect(
        flatten(list(coalesce(flags, []))),
        ['ambiguous_local_time', 'missing_local_time', 'bad_end_time', 'start_is_end',
         'several_codings']
    )) AS source_flags
FROM told_record
GROUP BY patient_key, drug, dose;

-- Administrations of a drug that was stopped once, in their order: equal starts, the stopped first.
CREATE TABLE stop_candidate AS
SELECT
    t.*,
    row_number() OVER (
        PARTITION BY t.patient_key, t.drug
        ORDER BY t.started_at, NOT t.is_stopped, t.ended_at, t.infusion_key
    ) AS place
FROM told_dose AS t
SEMI JOIN (
    FROM told_dose WHERE evidence = 'administered' AND is_stopped
) AS s USING (patient_key, drug)
WHERE t.evidence = 'administered';

-- A stopped administration and what starts next after it ended; days where either is only a day.
CREATE TABLE restart_candidate AS
WITH follower AS (
    SELECT a.patient_key, a.drug, a.dose AS stopped, b.dose AS restart, a.ended_at, a.place
    FROM stop_candidate AS a
    JOIN stop_candidate AS b
      ON b.patient_key = a.patient_key AND b.drug = a.drug AND b.place > a.place
     AND CASE
            WHEN a.is_day_precision OR b.is_day_precision THEN
                b.first_day >= a.last_day
                AND b.first_day <= a.last_day + to_microseconds((SELECT restart_us FROM setting))
            ELSE
                b.started_at > a.ended_at
                AND b.started_at <= a.ended_at + to_microseconds((SELECT restart_us FROM setting))
         END
    WHERE a.is_stopped
    QUALIFY row_number() OVER (PARTITION BY a.patient_key, a.drug, a.dose ORDER BY b.place) = 1
)
FROM follower
-- Of several stopped ones it is the restart of the one that ended last.
QUALIFY row_number() OVER (
    PARTITION BY patient_key, drug, restart ORDER BY ended_at DESC, place DESC
) = 1;

-- What those two gave under which orders, and what orders of the drug prescribe.
CREATE TABLE stop_content AS
SELECT
    patient_key,
    drug,
    dose,
    list(DISTINCT order_key) FILTER (WHERE order_key IS NOT NULL) AS orders,
    list({'source': source, 'value': dose_value, 'unit': dose_unit}) AS given
FROM told_record
SEMI JOIN stop_candidate USING (patient_key, drug, dose)
GROUP BY patient_key, drug, dose;

CREATE TABLE prescription AS
SELECT
    patient_key,
    drug,
    list({'order_key': order_key, 'value': dose_value, 'unit': dose_unit}) AS prescribed
FROM study_record
SEMI JOIN stop_candidate USING (patient_key, drug)
WHERE evidence = 'ordered' AND is_in_force AND order_key IS NOT NULL
GROUP BY patient_key, drug;

-- Is all that was given within the one order that is named? True where that cannot be told.
CREATE MACRO is_within_order(given, named) AS CASE
    WHEN len(named) = 1
        AND named[1].value IS NOT NULL
        AND named[1].unit IS NOT NULL
        AND len(list_distinct(list_transform(given, lambda g: g.source))) = 1
        AND len(list_filter(
            given, lambda g: coalesce(g.value IS NOT NULL AND g.unit = named[1].unit, false)
        )) = len(given)
    THEN round(list_sum(list_transform(given, lambda g: g.value)), 9) <= named[1].value
    ELSE true
END;

-- Along each chain of stops: a restart adds what it gave, another dose begins anew.
CREATE TABLE restart AS
WITH RECURSIVE chain AS (
    SELECT
        c.patient_key, c.drug, c.stopped AS root, c.stopped AS dose, coalesce(t.orders, []) AS orders,
        t.given
    FROM restart_candidate AS c
    JOIN stop_content AS t
      ON t.patient_key = c.patient_key AND t.drug = c.drug AND t.dose = c.stopped
    ANTI JOIN restart_candidate AS b
      ON b.patient_key = c.patient_key AND b.drug = c.drug AND b.restart = c.stopped
    UNION ALL
    SELECT
        patient_key,
        drug,
        CASE WHEN is_restart THEN root ELSE dose END,
        dose,
        CASE WHEN is_restart THEN all_orders ELSE own_orders END,
        CASE WHEN is_restart THEN all_given ELSE own_given END
    FROM (
        SELECT
            c.patient_key,
            c.drug,
            c.root,
            n.restart AS dose,
            coalesce(t.orders, []) AS own_orders,
            t.given AS own_given,
            list_distinct(list_concat(c.orders, coalesce(t.orders, []))) AS all_orders,
            list_concat(c.given, t.given) AS all_given,
            list_has_any(c.orders, coalesce(t.orders, []))
                OR is_within_order(
                    list_concat(c.given, t.given),
                    list_filter(
                        p.prescribed,
                        lambda o: list_contains(
                            list_concat(c.orders, coalesce(t.orders, [])), o.order_key
                        )
                    )
                ) AS is_restart
        FROM chain AS c
        JOIN restart_candidate AS n
          ON n.patient_key = c.patient_key AND n.drug = c.drug AND n.stopped = c.dose
        JOIN stop_content AS t
          ON t.patient_key = c.patient_key AND t.drug = c.drug AND t.dose = n.restart
        LEFT JOIN prescription AS p ON p.patient_key = c.patient_key AND p.drug = c.drug
    )
)
SELECT patient_key, drug, dose, root FROM chain WHERE dose <> root;

CREATE TABLE dose_record AS
SELECT r.* REPLACE (coalesce(x.root, r.dose) AS dose)
FROM told_record AS r
LEFT JOIN restart AS x USING (patient_key, drug, dose);

-- An administration with its restarts: its start is that of the first, its end that of the last.
CREATE TABLE interrupted_dose AS
WITH part AS (
    SELECT t.* REPLACE (x.root AS dose)
    FROM told_dose AS t
    JOIN (FROM restart UNION SELECT patient_key, drug, root, root FROM restart) AS x
        USING (patient_key, drug, dose)
)
SELECT
    patient_key,
    drug,
    dose,
    arg_min(infusion_key, (started_at, infusion_key)) AS infusion_key,
    flatten(list(record_keys ORDER BY started_at, infusion_key)) AS record_keys,
    arg_min(site_id, (started_at, infusion_key)) AS site_id,
    arg_min(zone, (started_at, infusion_key)) AS zone,
    any_value(drug_class) AS drug_class,
    any_value(course_gap_us) AS course_gap_us,
    min(started_at) AS started_at,
    max(ended_at) AS ended_at,
    bool_or(is_day_precision) AS is_day_precision,
    min(first_day) AS first_day,
    max(last_day) AS last_day,
    arg_max(is_end_missing, (ended_at, started_at, infusion_key)) AS is_end_missing,
    bool_or(is_running) AS is_running,
    arg_max(status, (ended_at, is_stopped, started_at, infusion_key)) AS status,
    true AS is_interrupted,
    any_value(evidence) AS evidence,
    min(route) AS route,
    -- Parts of a dose tell no whole one.
    NULL::DOUBLE AS dose_value,
    NULL::VARCHAR AS dose_unit,
    arg_min(encounter_key, (started_at, infusion_key)) AS encounter_key,
    sum(n_records)::BIGINT AS n_records,
    count(*) AS n_parts,
    list_sort(list_distinct(flatten(list(source_flags)))) AS source_flags
FROM part
GROUP BY patient_key, drug, dose;

CREATE TABLE dose AS
SELECT * EXCLUDE (is_stopped)
FROM told_dose
ANTI JOIN restart USING (patient_key, drug, dose)
ANTI JOIN interrupted_dose USING (patient_key, drug, dose)
UNION ALL BY NAME
FROM interrupted_dose;
