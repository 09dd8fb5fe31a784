"""The report for eyes: written by the night that published, and again whenever it is asked for."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from flows.context import RunContext
from flows.lock import site_lock
from flows.reply import Reply, UsageError
from pipelines.base.site import PrivacyTable, Site, load_site
from warehouse.publish import published_state

FILE = "index.html"
AGAIN = "the next refresh, or `dripwatch report`, writes it again"


def write_page(context: RunContext) -> str:
    """Write the report where it does not show what is published; return what the stage notes.

    Whatever it fails with, the night stands: the warehouse is in place, and the page is made of it.
    """
    site = context.site
    out, min_cell = site.report / FILE, site.privacy.min_cell
    from warehouse.report.mark import is_current

    try:
        if is_current(out, published_state(site.warehouse), min_cell):
            return ""
        from warehouse.report import write_report
        from warehouse.told import NotKnownError

        try:
            written = write_report(site.warehouse, out, min_cell, site)
        except NotKnownError as error:
            context.remark(f"The report is as it was. {error.what} {error.remedy}")
            return "no page"
    except Exception as error:  # a page must not cost the night
        # No more than the class: texts of libraries quote what they were given.
        context.remark(
            f"The report could not be written ({type(error).__name__}); the warehouse is in place, "
            f"the page {'shows an earlier night' if out.exists() else 'is missing'}. {AGAIN}."
        )
        return "no page"
    return f"{FILE}, {written.n_figures} figures"


def report_command(
    config: Path | None,
    warehouse: Path | None,
    out: Path | None,
    answer: Reply,
    *,
    begin_anew: bool = False,
) -> None:
    """Write the report of a site, or of a published file alone.

    Args:
        config: the site.
        warehouse: a published file, in place of the site's.
        out: the page, in place of the site's.
        answer: to the user.
        begin_anew: whether figures that earlier pages told may move by less than the threshold.

    Errors:
        ConfigError: there is no such site.
        LockedError: a run is at work.
        NotKnownError: what was told last is not known.
        StorageError: the warehouse cannot be read, or the page not be written.
        UsageError: neither a site nor a file and a page are named.
    """
    from warehouse import told
    from warehouse.report import write_report

    site = _site(config, warehouse)
    file = warehouse or (site.warehouse if site else None)
    page = out or (site.report / FILE if site else None)
    if file is None or page is None:
        raise UsageError(
            "It is not known where the page shall go.",
            remedy="Name it: dripwatch report --warehouse FILE --out PAGE.html",
        )
    if begin_anew and (site is None or warehouse or out):
        raise UsageError(
            "Only a site's own page can begin anew.",
            remedy="dripwatch report --config site.toml --begin-anew",
        )
    # A file alone does not say which counts its hospital takes for small.
    privacy = site.privacy if site else PrivacyTable.model_validate({})
    with site_lock(site) if site else nullcontext():  # what is told is recorded
        if site and begin_anew:
            told.begin_anew(site)
        written = write_report(file, page, privacy.min_cell, site)
    answer.result = {
        "report": str(written.path),
        "n_bytes": written.n_bytes,
        "n_figures": written.n_figures,
        "min_cell": privacy.min_cell,
    }
    answer.message = f"The report is {written.path} ({written.n_bytes / 1000:.0f} kB)."
    answer.console.say(answer.message)


def _site(config: Path | None, warehouse: Path | None) -> Site | None:
    """Return the site; none where only a file is named."""
    if config is None and warehouse is not None:
        return None
    return load_site(config or Path("site.toml"))
