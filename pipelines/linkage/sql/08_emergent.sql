-- Which events are new in the window, worse than before, old, or in a clean window (section 5).
--
-- An event is treatment-emergent where its onset lies in the window, or where it gets worse in the
-- window than it was before. A missing grade never suppresses a new onset and never makes an event
-- worse.

CREATE TABLE episode_in_window AS
WITH timed AS (
    SELECT *, min(i_lo) FILTER (WHERE is_in) OVER (
        PARTITION BY unit_id, outcome, window_name, episode
    ) AS first_in
    FROM piece_counted
)
SELECT
    unit_id,
    outcome,
    window_name,
    patient_key,
    episode,
    any_value(axis) AS axis,
    any_value(started_at) AS started_at,
    any_value(min_grade) AS min_grade,
    count(*) FILTER (WHERE is_in) AS n_in,
    min(i_lo) FILTER (WHERE is_in) AS onset_in,
    -- What lies in time that was lost to a risk window is earlier where it comes first.
    count(*) FILTER (WHERE is_earlier) AS n_before,
    max(grade) FILTER (WHERE is_in) AS grade_in,
    max(grade) FILTER (WHERE is_earlier) AS grade_before
FROM (
    SELECT *, NOT is_in AND (is_before OR (is_lost AND i_lo < first_in)) AS is_earlier FROM timed
)
GROUP BY unit_id, outcome, window_name, patient_key, episode
HAVING n_in > 0;

CREATE TABLE episode_judged AS
SELECT
    e.*,
    x.grade_earlier,
    coalesce(e.grade_in > e.grade_before, false) AS is_worse_within,
    coalesce(e.grade_in <= x.grade_earlier, false) AS is_ongoing_earlier
FROM episode_in_window AS e
LEFT JOIN (
    -- An earlier event, both graded, that is taken to go on when this one begins.
    SELECT this.unit_id, this.window_name, this.outcome, this.episode,
           max(earlier.grade) AS grade_earlier
    FROM episode_in_window AS this
    JOIN (
        SELECT unit_id, window_name, outcome, episode, max(grade) AS grade,
               max(assumed_end_i) AS assumed_end_i, min(i_lo) AS onset_i
        FROM piece_in_window
        WHERE NOT is_nowhere
        GROUP BY unit_id, window_name, outcome, episode
    ) AS earlier
      ON earlier.unit_id = this.unit_id AND earlier.window_name = this.window_name
     AND earlier.outcome = this.outcome
     -- Of two at one moment neither is earlier.
     AND earlier.episode < this.episode AND earlier.onset_i < this.onset_in
     AND earlier.assumed_end_i > this.onset_in
    GROUP BY ALL
) AS x
  ON x.unit_id = e.unit_id AND x.window_name = e.window_name AND x.outcome = e.outcome
 AND x.episode = e.episode;

-- Events whose onset an earlier one keeps clean, and the worst grade among those; without one where
-- any of them has none.
CREATE TABLE episode_held AS
SELECT
    t.unit_id,
    t.outcome,
    t.window_name,
    t.episode,
    CASE WHEN count(e.grade) = count(*) THEN max(e.grade) END AS grade_clean
FROM episode_in_window AS t
JOIN episode_span AS s
  ON s.patient_key = t.patient_key AND s.outcome = t.outcome AND s.episode = t.episode
 AND coalesce(s.unit_id, t.unit_id) = t.unit_id
 AND coalesce(s.window_name, t.window_name) = t.window_name
JOIN episode_span AS e
  ON e.patient_key = t.patient_key AND e.outcome = t.outcome AND e.keeps_clean
 AND e.unit_id IS NOT DISTINCT FROM s.unit_id
 AND e.window_name IS NOT DISTINCT FROM s.window_name
 AND CASE
        WHEN t.axis = 'day' OR s.is_onset_day OR e.is_onset_day OR e.is_end_day
        THEN s.onset_d > e.onset_d AND s.onset_d <= e.until_d
        ELSE s.onset_i > e.onset_i AND s.onset_i <= e.until_i
     END
GROUP BY t.unit_id, t.outcome, t.window_name, t.episode;

CREATE TABLE episode_verdict AS
SELECT
    j.*,
    CASE
        WHEN coalesce(j.grade_in < j.min_grade, false) THEN 'below_grade'
        WHEN j.n_before > 0 AND j.is_worse_within THEN 'worsened'
        WHEN j.n_before > 0 OR j.is_ongoing_earlier THEN 'pre_existing'
        ELSE 'new'
    END AS verdict_uncleaned,
    CASE
        WHEN verdict_uncleaned NOT IN ('new', 'worsened') OR h.episode IS NULL
            THEN verdict_uncleaned
        WHEN coalesce(j.grade_in > h.grade_clean, false) THEN 'worsened'
        ELSE 'in_clean_window'
    END AS verdict,
    -- A worsened event begins where it is worse than all that came before.
    CASE WHEN verdict = 'worsened' THEN coalesce(greatest(j.grade_before, h.grade_clean), 0) END
        AS grade_to_pass
FROM episode_judged AS j
LEFT JOIN episode_held AS h USING (unit_id, outcome, window_name, episode);

CREATE TABLE episode_count AS
SELECT
    unit_id,
    outcome,
    window_name,
    count(*) FILTER (WHERE verdict IN ('new', 'worsened')) AS n_events,
    count(*) FILTER (WHERE verdict_uncleaned IN ('new', 'worsened')) AS n_events_uncleaned
FROM episode_verdict
GROUP BY unit_id, outcome, window_name;

CREATE TABLE episode_hit AS
WITH onset AS (
    SELECT
        v.unit_id,
        v.outcome,
        v.window_name,
        v.verdict,
        p.i_lo,
        p.d_lo,
        p.time_precision,
        p.lo,
        p.axis,
        v.grade_in AS grade,
        row_number() OVER (
            PARTITION BY v.unit_id, v.outcome, v.window_name ORDER BY p.i_lo, p.record_key
        ) AS place
    FROM episode_verdict AS v
    JOIN piece_counted AS p
      ON p.unit_id = v.unit_id AND p.outcome = v.outcome AND p.window_name = v.window_name
     AND p.episode = v.episode AND p.is_in
     AND (v.verdict = 'new' OR p.grade > v.grade_to_pass)
    WHERE v.verdict IN ('new', 'worsened')
)
SELECT
    unit_id,
    outcome,
    window_name,
    i_lo AS onset_at,
    CASE WHEN axis = 'day' THEN 'day' ELSE time_precision END AS onset_precision,
    greatest(lo, CASE axis WHEN 'day' THEN d_lo ELSE i_lo END) AS onset_axis,
    max(grade) OVER (PARTITION BY unit_id, outcome, window_name) AS grade,
    verdict = 'worsened' AS is_worsened
FROM onset
QUALIFY place = 1;
