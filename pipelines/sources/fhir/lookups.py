"""What a resource does not tell itself: the code that a study names, what a reference points to.

Codes repeat: each distinct CodeableConcept is looked at once, not once per resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb

from pipelines.base.duck import insert, literal, quote
from pipelines.sources.fhir.columns import column
from pipelines.sources.fhir.model import FhirMapping
from pipelines.sources.rows import sql
from pipelines.sources.rows.stage import in_scope

#: Tables of one delivery; all are temporary.
CODES = "fhir_code"
DRUGS = "fhir_drug"

_CONCEPT = literal(
    '{"coding":[{"system":"VARCHAR","code":"VARCHAR","display":"VARCHAR"}],"text":"VARCHAR",'
    '"identifier":[{"system":"VARCHAR","value":"VARCHAR"}]}'
)
_INGREDIENTS = literal('[{"itemCodeableConcept":"JSON","itemReference":{"reference":"VARCHAR"}}]')


def shredded(resource_type: str) -> str:
    """Return the table of what the resources of a type tell."""
    return quote("told_" + resource_type)


def looked_up(mapping: FhirMapping) -> Iterator[str]:
    """Yield the resource types that others are completed from."""
    for name, rule in mapping.resource.items():
        for element in rule.elements.values():
            if element.medication:
                yield "Medication"
            if element.via and element.of:
                yield element.of
        is_about = "patient" in rule.elements and name != "Patient"
        if is_about and mapping.patient.identifier != "id":
            yield "Patient"


def load_systems(con: duckdb.DuckDBPyConnection, systems: dict[str, str]) -> None:
    """Tell the database the token of each code system, the most trusted first."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE fhir_system (uri VARCHAR, token VARCHAR, place INTEGER)"
    )
    rows = ((uri, token, place) for place, (uri, token) in enumerate(systems.items()))
    insert(con, "fhir_system", rows)


def choose_codes(
    con: duckdb.DuckDBPyConnection, fragments: str, event_types: Sequence[str]
) -> None:
    """Choose one code of each CodeableConcept, into `fhir_code`, keyed by its text.

    The first that some study names (systems in the order of the mapping, then codings as they
    stand), else the first of a known system, else the first.

    Args:
        con: the staging database, with `row_scope` and `fhir_system`.
        fragments: query for `fragment`, JSON texts of CodeableConcepts.
        event_types: the types that the resources can become.
    """
    named = " || ".join(
        f"CASE WHEN {in_scope('q.code', 'q.code_system', name)} THEN ' {name}' ELSE '' END"
        for name in event_types
    )
    con.execute(f"""
CREATE OR REPLACE TEMP TABLE {CODES} AS
WITH told AS (
    SELECT fragment, json_transform(fragment, {_CONCEPT}) AS c,
        json_type(fragment, '$.coding') NOT IN ('ARRAY', 'NULL')
        OR list_has_any(json_type(fragment, '$.coding[*]'),
            ['VARCHAR', 'ARRAY', 'BIGINT', 'UBIGINT', 'DOUBLE', 'BOOLEAN'])
        OR list_has_any(json_type(fragment, '$.coding[*].code'), ['OBJECT', 'ARRAY'])
        OR list_has_any(json_type(fragment, '$.coding[*].system'), ['OBJECT', 'ARRAY'])
        AS malformed
    FROM (SELECT DISTINCT fragment FROM ({fragments})) WHERE fragment IS NOT NULL
), coding AS (
    SELECT fragment, nth, nullif(trim(one.code), '') AS code,
        coalesce(s.token, nullif(one.system, '')) AS code_system,
        nullif(one.display, '') AS display, s.place
    FROM (
        SELECT fragment, unnest(codings) AS one, generate_subscripts(codings, 1) AS nth
        FROM (SELECT fragment, list_concat(coalesce(c.coding, []), coalesce(list_transform(
            c.identifier, lambda i: {{'system': i.system, 'code': i.value, 'display': NULL}}), []))
            AS codings FROM told)
    ) LEFT JOIN fhir_system s ON s.uri = one.system
    WHERE nullif(trim(one.code), '') IS NOT NULL
), seen AS (
    SELECT *, {named or "''"} AS scope FROM coding q
), chosen AS (
    SELECT fragment, count(DISTINCT (code, code_system)) FILTER (scope <> '') > 1 AS several,
        arg_min({{'code': code, 'system': code_system, 'display': display, 'scope': scope}},
            {{'a': scope = '', 'b': coalesce(place, 2147483647), 'c': nth}}) AS one
    FROM seen GROUP BY fragment
)
SELECT fragment, one.code AS code, one.system AS code_system,
    coalesce(one.display, nullif(c.text, '')) AS display,
    nullif(trim(one.scope), '') AS scope, coalesce(several, false) AS several,
    coalesce(malformed, false) AS malformed
FROM told LEFT JOIN chosen USING (fragment)
""")


def current(resource_type: str, through: str | None = None) -> str:
    """Return the query for the newest of each resource of a type, or of each id that it lists."""
    key = column("id") if through is None else f"unnest({column(through)})"
    return (
        f"SELECT * FROM (SELECT *, {key} AS found_id FROM {shredded(resource_type)} "
        "WHERE NOT malformed AND source_part IS NULL) WHERE found_id IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY found_id ORDER BY "
        f"{sql.instant(column('last_updated'), literal('UTC'))} DESC NULLS LAST, "
        "source_file_sha, source_row) = 1"
    )


def resolve_drugs(
    con: duckdb.DuckDBPyConnection,
    rows: str,
    name: str,
    fragments: str,
    event_types: Sequence[str],
) -> None:
    """Find the drug of each distinct medication[x] of a table, into `fhir_drug` and `fhir_code`.

    A Medication that some study names is that drug; else, if it has ingredients, each of them is
    a part. Ingredients that are Medications themselves are looked up once more.

    Args:
        con: the staging database.
        rows: table whose rows tell a medication.
        name: the element that tells it.
        fragments: query for `fragment`, the CodeableConcepts that the rows tell themselves.
        event_types: the types that the resources can become.
    """
    drug, target = column(name), column(f"{name}_id")
    con.execute(f"""
CREATE OR REPLACE TEMP TABLE fhir_medication AS
SELECT found_id, {column("code")} AS fragment,
    json_transform(CAST({column("ingredients")} AS VARCHAR), {_INGREDIENTS}) AS ingredients,
    source_file_sha, source_row
FROM ({current("Medication")})
""")
    item = "i.one.itemReference.reference"
    inside = "i.source_file_sha || '/' || i.source_row"
    con.execute(f"""
CREATE OR REPLACE TEMP TABLE fhir_ingredient AS
SELECT i.found_id, i.part, coalesce(CAST(i.one.itemCodeableConcept AS VARCHAR), m.fragment)
    AS fragment, {item} IS NOT NULL AND m.found_id IS NULL
    AND i.one.itemCodeableConcept IS NULL AS unresolved
FROM (
    SELECT found_id, source_file_sha, source_row, unnest(ingredients) AS one,
        generate_subscripts(ingredients, 1)::INTEGER AS part
    FROM fhir_medication
) i LEFT JOIN fhir_medication m ON m.found_id = CASE
    WHEN starts_with({item}, '#') THEN {inside} || {item}
    ELSE regexp_extract({item}, '(?:^|/|:)([^/:?#|]+)(?:/_history/[^/?#]+)?$', 1) END
""")
    choose_codes(
        con,
        f"SELECT fragment FROM ({fragments} "
        "UNION ALL SELECT fragment FROM fhir_medication "
        "UNION ALL SELECT fragment FROM fhir_ingredient)",
        event_types,
    )
    con.execute(f"""
CREATE OR REPLACE TEMP TABLE {DRUGS} AS
WITH pointed AS (
    SELECT DISTINCT {target} AS id FROM {rows} WHERE {drug} IS NULL AND {target} IS NOT NULL
), own AS (
    SELECT p.id, m.found_id IS NULL AS unresolved, k.*,
        len(m.ingredients) > 0 AND CASE WHEN EXISTS (SELECT 1 FROM row_scope)
        THEN k.scope IS NULL ELSE k.code IS NULL END AS is_mixture
    FROM pointed p LEFT JOIN fhir_medication m ON m.found_id = p.id
    LEFT JOIN {CODES} k ON k.fragment = m.fragment
)
SELECT id, NULL::INTEGER AS part, unresolved, code, code_system, display, scope, several, malformed
FROM own WHERE NOT coalesce(is_mixture, false)
UNION ALL
SELECT o.id, i.part, i.unresolved, k.code, k.code_system, k.display, k.scope, k.several,
    k.malformed
FROM own o JOIN fhir_ingredient i ON i.found_id = o.id
LEFT JOIN {CODES} k ON k.fragment = i.fragment
WHERE o.is_mixture
""")
