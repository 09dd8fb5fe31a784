"""Finding the deliveries of a source; a folder's name is never told, it can be a patient's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import DeliveryError
from pipelines.base.site import Site, SourceTable

AGAIN = "Stops here again until the delivery is mended; nothing of it was applied."


@dataclass(frozen=True)
class DeliveryFolder:
    """One delivery as it lies in a source's folder.

    Attributes:
        path: its folder.
        source: the source that delivers.
        where: how messages call it; folder names can hold patient data.
    """

    path: Path
    source: SourceTable
    where: str


def discover(site: Site, source: SourceTable) -> list[DeliveryFolder]:
    """Return a source's deliveries by folder name; those without their marker are left alone.

    Errors:
        DeliveryError: the source's folder is not there.
    """
    root, told = site.at(source.path), f"source {source.name}"
    with listing(f"the folder of {told}"):
        _root(root, source)
        folders = [root] if source.layout == "folder" else _folders(root)
    found = [
        DeliveryFolder(folder, source, f"delivery {n} of {len(folders)} of {told}")
        for n, folder in enumerate(folders, start=1)
    ]
    return [delivery for delivery in found if _is_marked(delivery)]


def loose_files(site: Site, source: SourceTable) -> int:
    """Return how many files lie beside a source's delivery folders, where nothing reads them.

    Errors:
        DeliveryError: the source's folder is not there or may not be listed.
    """
    if source.layout == "folder":
        return 0
    with listing(f"the folder of source {source.name}"):
        return sum(not path.is_dir() for path in shown(_root(site.at(source.path), source)))


def _root(root: Path, source: SourceTable) -> Path:
    if not root.is_dir():
        raise DeliveryError(
            f"The folder of source {source.name} is not there.",
            where=str(root),
            remedy="Mend `path` in site.toml, or mount the folder.",
        )
    return root


@contextmanager
def listing(where: str) -> Iterator[None]:
    """Turn what a folder raises into an error without its name, which can be a patient's."""
    try:
        yield
    except OSError:
        raise DeliveryError(
            "A folder of deliveries may not be listed by this account, or is gone.",
            where=where,
            remedy="Let the account that runs Dripwatch read and enter the folder.",
            next_run=AGAIN,
        ) from None


def shown(folder: Path) -> list[Path]:
    """Return what lies in a folder by name, hidden things left out."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _folders(root: Path) -> list[Path]:
    return [path for path in shown(root) if path.is_dir()]


def _is_marked(delivery: DeliveryFolder) -> bool:
    marker = delivery.source.marker
    with listing(delivery.where):
        return marker is None or (delivery.path / marker).exists()
