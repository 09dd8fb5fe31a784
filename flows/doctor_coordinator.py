"""What `doctor` says of a coordinator: settings, public keys, and the folders of a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from flows.doctor_sources import failed
from flows.installation import Finding
from pipelines.base.errors import DripwatchError
from pipelines.pooling.coordinator import Coordinator, load_coordinator
from pipelines.pooling.signing import load_public


def coordinated(config: Path, writable: Callable[[str, Path], Finding]) -> Iterator[Finding]:
    """Yield what there is to say about a coordinator and whom it expects."""
    try:
        coordinator = load_coordinator(config)
    except DripwatchError as error:
        yield failed("coordinator.toml", error)
        return
    yield Finding("ok", "coordinator.toml", str(coordinator.config_path))
    paths = coordinator.paths
    for name, folder in (
        ("inbox", paths.inbox),
        ("folder of packs", paths.packs),
        ("folder of refused packs", paths.refused),
        ("folder of the pooled file", coordinator.at(paths.pooled).parent),
        ("state", paths.state),
    ):
        yield writable(name, coordinator.at(folder))
    for site_id in coordinator.coordinator.sites:
        yield _key(coordinator, site_id)


def _key(coordinator: Coordinator, site_id: str) -> Finding:
    """Without its key no pack of a site is believed; the others are pooled all the same."""
    what = f"public key of {site_id}"
    path = coordinator.at(coordinator.paths.keys) / f"{site_id}.pub"
    if not path.is_file():
        return Finding(
            "warn",
            what,
            f"{path} is not there: no pack of it can be believed",
            f"Ask the site for what `dripwatch export-key --out {site_id}.pub` writes.",
        )
    try:
        load_public(path)
    except DripwatchError as error:
        return failed(what, error)
    return Finding("ok", what, str(path))
