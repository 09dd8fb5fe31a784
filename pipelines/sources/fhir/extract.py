"""From the files of a FHIR export to candidate events in the staging database."""

from __future__ import annotations

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources.fhir.columns import column
from pipelines.sources.fhir.compile import declared, shred
from pipelines.sources.fhir.deletions import open_deletions, take_deletions
from pipelines.sources.fhir.lines import load, open_fhir
from pipelines.sources.fhir.lookups import (
    choose_codes,
    load_systems,
    looked_up,
    resolve_drugs,
    shredded,
)
from pipelines.sources.fhir.mapping import Mapping, resource_names
from pipelines.sources.fhir.model import ResourceRule
from pipelines.sources.fhir.view import complete
from pipelines.sources.fhir.withdrawals import remember, withdraw_unseen
from pipelines.sources.rows import sql
from pipelines.sources.rows.check_rule import used_columns
from pipelines.sources.rows.shared import Context, microseconds
from pipelines.sources.rows.stage import (
    Scope,
    close_staging,
    failed,
    is_whole,
    make_events,
    open_staging,
    raw_sql,
    set_unreadable_aside,
    settle_all,
)

#: What a file's role is where nothing says which resources it holds.
_ANY = "any"
_DELETED = "deleted"
#: Files of fewer resources are read together: each statement costs more than such a file.
_FEW = 20_000
_NO_ROWS = (
    "(SELECT ''::VARCHAR AS source_file_sha, 0::BIGINT AS source_row, false AS contained, "
    "''::VARCHAR AS resource WHERE false)"
)
_PENDING = (
    "SELECT source_file_sha, source_row, ''::VARCHAR AS resource_type, resource FROM " + _NO_ROWS
)
_SCRATCH = (
    "fhir_file",
    "fhir_pending",
    "fhir_rows",
    "fhir_code",
    "fhir_drug",
    "fhir_system",
    "fhir_medication",
    "fhir_ingredient",
)


def extract(
    con: duckdb.DuckDBPyConnection,
    facts: DeliveryFacts,
    mapping: Mapping,
    site: Site,
    scope: Scope,
    key: SiteKey,
) -> None:
    """Read a delivery into an empty staging database: `event.*` and `fate.*`.

    Every resource of every file ends in at least one candidate event or `fate.row`: out of scope,
    reference, duplicate, superseded or quarantined, its parts each for themselves.

    Errors:
        DeliveryError: a file is damaged, empty, or changed since it was described.
    """
    ctx = Context(
        facts.site_id,
        facts.source,
        facts.batch_id,
        mapping.table.zone or site.site.zone,
        mapping.table.namespace,
        microseconds(facts.exported_at),
        site.privacy.idmap,
    )
    try:
        open_staging(con, scope, key)
        _Reading(con, facts, mapping, ctx).run(whole_scope=is_whole(scope))
        close_staging(con, key, site)
    except duckdb.Error as error:
        raise failed(error, facts) from None


class _Reading:
    """One delivery on its way: resources are cut into columns as they come, then completed."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        facts: DeliveryFacts,
        mapping: Mapping,
        ctx: Context,
    ) -> None:
        self.con, self.facts, self.mapping, self.ctx = con, facts, mapping, ctx
        self.rules = mapping.table.resource
        self.looked_up = set(looked_up(mapping.table))

    def run(self, *, whole_scope: bool) -> None:
        load_systems(self.con, self.mapping.table.systems)
        for name, rule in self.rules.items():
            columns = declared(shred(rule, self.mapping.table.values, _NO_ROWS))
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE {shredded(name)} ({columns})")
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE fhir_pending AS {_PENDING}")
        for number, file in enumerate(sorted(self.facts.files, key=lambda f: f.sha256), start=1):
            self._read(file, number)
        self._flush()
        for name, rule in self.rules.items():
            self._make(name, rule, whole_scope=whole_scope)
        self._settle()
        for table in (*_SCRATCH, *(f"told_{name}" for name in self.rules)):
            self.con.execute(f"DROP TABLE IF EXISTS {quote(table)}")

    def _read(self, file: DeliveredFile, number: int) -> None:
        told = f"{file.role}, sha256 {file.sha256[:12]}"
        where = f"file {number} of {len(self.facts.files)} ({told})"
        opened = (open_deletions if file.role == _DELETED else open_fhir)(file.path, where)
        read = load(self.con, opened, "fhir_file", file.sha256)
        self.con.execute(
            "INSERT INTO fate.file VALUES (?, ?, ?)", [file.sha256, file.path.name, read.n_rows]
        )
        set_unreadable_aside(self.con, read.unreadable, file.sha256)
        bundles = "fhir_file WHERE resource_type = 'Bundle'"
        if self._count(f"SELECT count(*) FROM {bundles}"):
            take_deletions(self.con, "fhir_file", self.ctx, file.sha256)
            self.con.execute(f"DELETE FROM {bundles}")
        if file.role not in (_ANY, _DELETED):
            self._refuse_others(file)
        rows = f"(SELECT {literal(file.sha256)} AS source_file_sha, * FROM fhir_file)"
        if read.n_rows >= _FEW:
            self._shred(rows)
            # dropped, not emptied: deleted rows keep their memory
            self.con.execute("DROP TABLE fhir_file")
            return
        self.con.execute(f"INSERT INTO fhir_pending SELECT * FROM {rows}")
        if self._count("SELECT count(*) FROM fhir_pending") >= _FEW:
            self._flush()

    def _refuse_others(self, file: DeliveredFile) -> None:
        """Quarantine resources of another type than the manifest tells of the file."""
        other = "resource_type <> $role"
        self.con.execute(
            "INSERT INTO fate.row SELECT $sha, source_row, NULL, 'quarantined', "
            f"'wrong_resource_type', NULL, NULL, NULL, NULL FROM fhir_file WHERE {other}",
            {"sha": file.sha256, "role": file.role},
        )
        self.con.execute(f"DELETE FROM fhir_file WHERE {other}", {"role": file.role})

    def _flush(self) -> None:
        self._shred("fhir_pending")
        self.con.execute("DELETE FROM fhir_pending")

    def _shred(self, rows: str) -> None:
        """Cut resources into columns; what has no rule is out of scope."""
        found = self.con.execute(f"SELECT DISTINCT resource_type FROM {rows}").fetchall()
        there = {str(row[0]) for row in found}
        for name in self.rules:
            if name in there:
                test = f"resource_type = {literal(name)}"
                self._take(
                    name,
                    f"(SELECT source_file_sha, source_row, false AS contained, resource "
                    f"FROM {rows} WHERE {test})",
                )
        if there and self.looked_up:
            self._take_contained(rows)
        if others := there - set(self.rules):
            self._set_types_aside(rows, others)

    def _take(self, name: str, rows: str) -> None:
        query = shred(self.rules[name], self.mapping.table.values, rows)
        self.con.execute(f"INSERT INTO {shredded(name)} {query}")

    def _take_contained(self, rows: str) -> None:
        """Take what stands inside other resources: found by them, and no record of its own."""
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE fhir_contained AS SELECT source_file_sha, source_row, "
            "true AS contained, resource, json_extract_string(resource, '$.resourceType') AS type "
            "FROM (SELECT source_file_sha, source_row, "
            "CAST(unnest(json_extract(resource, '$.contained[*]')) AS VARCHAR) AS resource "
            f"FROM {rows} WHERE contains(resource, '\"contained\"'))"
        )
        if self._count("SELECT count(*) FROM fhir_contained"):
            for name in sorted(self.looked_up):
                self._take(
                    name,
                    "(SELECT source_file_sha, source_row, contained, resource "
                    f"FROM fhir_contained WHERE type = {literal(name)})",
                )
        self.con.execute("DROP TABLE fhir_contained")

    def _set_types_aside(self, rows: str, types: set[str]) -> None:
        """Count resources of types without a rule; one that FHIR lacks may be a mistyped one."""
        known = "list_contains($known::VARCHAR[], resource_type)"
        self.con.execute(
            "INSERT INTO fate.row SELECT source_file_sha, source_row, NULL, "
            f"CASE WHEN {known} THEN 'out_of_scope' ELSE 'quarantined' END, "
            f"CASE WHEN {known} THEN 'resource_type' ELSE 'no_resource_type' END, "
            f"CASE WHEN {known} THEN resource_type END, NULL, NULL, NULL "
            f"FROM {rows} WHERE list_contains($types::VARCHAR[], resource_type)",
            {"known": sorted(types & resource_names()), "types": sorted(types)},
        )

    def _make(self, name: str, rule: ResourceRule, *, whole_scope: bool) -> None:
        """Turn the resources of a type into candidate events, or account for them otherwise."""
        table = shredded(name)
        if not self._count(f"SELECT count(*) FROM {table} WHERE NOT contained"):
            return
        if not rule.reference:
            self._choose(rule, table)
        used = [] if rule.reference else [told for told, _ in used_columns(rule, ())]
        if "last_updated" not in used:
            used.append("last_updated")
        query = complete(
            name,
            self.mapping.table,
            rule,
            used,
            self.ctx.zone,
            is_delta=self.facts.kind == "delta",
        )
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE fhir_rows AS {query}")
        if name not in self.looked_up:
            self.con.execute(f"DROP TABLE {table}")
        self._refuse(rule)
        if rule.reference:
            return
        if self.facts.kind == "delta":
            remember(self.con, self.mapping.table.settings.version, self.ctx)
        columns = {told: column(told) for told in dict.fromkeys(used)}
        cells = {told: sql.cell(safe, []) for told, safe in columns.items()}
        rows = "(SELECT * FROM fhir_rows WHERE refused IS NULL)"
        self.con.execute(raw_sql(rule, cells, columns, rows))
        self.con.execute("DROP TABLE fhir_rows")
        make_events(self.con, rule, columns, self.ctx, whole_scope=whole_scope)
        self.con.execute("DROP TABLE row_raw")

    def _choose(self, rule: ResourceRule, table: str) -> None:
        """Choose the codes of a type's concepts, and find its drugs."""
        told = [n for n, e in rule.elements.items() if e.concept or e.medication]
        if not told:
            return
        fragments = " UNION ".join(f"SELECT {column(n)} AS fragment FROM {table}" for n in told)
        drugs = [n for n, e in rule.elements.items() if e.medication]
        if drugs:
            resolve_drugs(self.con, table, drugs[0], fragments, rule.event_types)
        else:
            choose_codes(self.con, fragments, rule.event_types)

    def _refuse(self, rule: ResourceRule) -> None:
        """Account for what is no record to read, and for what is only looked up."""
        # a part can be wrong alone, by its code; all else is true of the whole resource
        by_part = "refused = 'unresolved_reference' OR refused = 'malformed_element'"
        part = f"CASE WHEN ({by_part}) AND NOT malformed THEN source_part END"
        # under its own key, so that a snapshot does not take what was told of it before for gone
        owner = f"{literal(self.ctx.site_id)}, {literal(self.ctx.source)}"
        whose = f"other_key({owner}, 'resource', resource_text)"
        self.con.execute(
            "INSERT INTO fate.row SELECT DISTINCT source_file_sha, source_row, NULL, "
            f"'quarantined', refused, NULL, NULL, {whose}, {part} "
            "FROM fhir_rows WHERE refused IS NOT NULL"
        )
        if rule.reference:
            self.con.execute(
                "INSERT INTO fate.row SELECT source_file_sha, source_row, NULL, 'reference', "
                f"{literal(rule.reference)}, NULL, NULL, NULL, NULL FROM fhir_rows "
                "WHERE refused IS NULL"
            )

    def _settle(self) -> None:
        """End the delivery: each type that it can tell has a table, if only an empty one."""
        found = self.con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'row_candidate_')"
        ).fetchall()
        made = {str(row[0]).removeprefix("row_candidate_") for row in found}
        delivered = set(self.facts.data_through)
        for name in sorted(delivered - made):
            self.con.execute(schemas.create_table_sql(name, f"event.{quote(name)}"))
        settle_all(self.con, self.facts, made)
        for name in sorted(made - delivered):
            # a rule can make a type of which the delivery has nothing
            if not self._count(f"SELECT count(*) FROM event.{quote(name)}"):
                self.con.execute(f"DROP TABLE event.{quote(name)}")
        if self.facts.kind == "delta":
            withdraw_unseen(self.con, self.ctx)

    def _count(self, query: str) -> int:
        row = self.con.execute(query).fetchone()
        return int(row[0]) if row else 0
