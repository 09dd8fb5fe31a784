"""What puts an alert on watch: screening that asks for a look, and proves nothing.

Rules over tables that are made anew every night (docs/decisions/132). `signal` is kept for a
boundary: none of these knows how often it has been asked.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Why an alert stands, as `reasons` holds it, and how a sentence says it.
REASONS: Mapping[str, str] = {
    "boundary": "sequential surveillance has crossed its boundary",
    "serious_event": "a serious event after an infusion is listed",
    "eb05": "EB05 of a drug is at least 2",
    "ic025": "IC025 of a drug is above 0",
    "run_rule": "the risk by quarter has shifted, and lies above its median now",
    "above_published": "the interval of the risk lies above what was published",
}

#: Fewest units with an event that a disproportion is believed of (Evans 2001).
LEAST_EVENTS = 3

# A drug is watched under its concept, as in a study's pairs; its table tells its name.
SCREENED = f"""
SELECT study_id, site_id, outcome, window_name, coalesce(concept, 'all') AS watched,
    list(DISTINCT reason ORDER BY reason) AS rules
FROM (
    SELECT study_id, site_id, outcome, window_name, drug, unnest(list_filter([
        CASE WHEN eb05 >= 2 THEN 'eb05' END, CASE WHEN ic025 > 0 THEN 'ic025' END
    ], one -> one IS NOT NULL)) AS reason
    FROM store.signals.disproportionality WHERE n_events >= {LEAST_EVENTS}
    UNION ALL BY NAME
    SELECT study_id, site_id, outcome, window_name, 'run_rule' AS reason FROM (
        FROM store.signals.trend WHERE side IN ('above', 'below')
        QUALIFY calendar_quarter = max(calendar_quarter) OVER (
            PARTITION BY study_id, site_id, outcome, window_name)
    ) WHERE is_shifted AND side = 'above'
    UNION ALL BY NAME
    SELECT study_id, site_id, outcome, window_name, 'above_published' AS reason,
        CASE stratum WHEN 'drug' THEN stratum_value END AS drug
    FROM store.signals.benchmark WHERE ci_low > published_high
) LEFT JOIN (
    SELECT study_id, one->>'name' AS drug, one->>'concept' AS concept
    FROM (SELECT study_id, unnest(settings_json::JSON->'$.drug[*]') AS one
        FROM store.reference.study)
) USING (study_id, drug)
SEMI JOIN (FROM store.reference.outcome WHERE is_published) USING (study_id, outcome)
WHERE window_name <> 'control'
GROUP BY ALL
"""


def in_words(reasons: list[str]) -> str:
    """Return reasons as the end of a sentence."""
    return "; ".join(REASONS[one] for one in reasons)
