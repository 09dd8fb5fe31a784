"""A real disk that is full: a small file system in memory, mounted in a namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.base.errors import ExitCode
from pipelines.base.site import load_site
from tests.functional.fault_kit import Stream, runner, short_stream, started, told_by

__all__ = ["runner", "short_stream"]

BLOCK = 1 << 16
#: Kilobytes that are free when the night begins.
FREE = (0, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 49152)


def fill(folder: Path, n_free: int) -> Path:
    """Write a file that leaves so many bytes of a file system free."""
    filler = folder / "filler"
    with filler.open("wb") as stream:
        while shutil.disk_usage(folder).free > n_free + BLOCK:
            stream.write(bytes(BLOCK))
            stream.flush()
    return filler


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_on_a_disk_that_is_full_nothing_is_lost(short_stream: Stream, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=160m tmpfs {disk}"
    wanted = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "--"]
    if subprocess.run([*wanted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("THE FULL DISK WAS NOT TRIED: this machine lets nobody mount one")
    source = short_stream.before(2, tmp_path / "source")
    seen = source.model_copy(update={"config_path": disk / "site" / "site.toml"})
    codes = []
    with started(tmp_path, None, wanted) as runner:
        # The namespace has the disk; here it is seen through the other process's eyes.
        # DuckDB, which resolves paths, gets a copy.
        inside = Path(f"/proc/{runner.process.pid}/root{disk}")
        for kilobytes in FREE:
            shutil.copytree(source.root, inside / "site")
            filler = fill(inside, kilobytes << 10)
            ended = runner.run(seen)
            codes.append(ended.code)
            assert ended.code in (ExitCode.OK, ExitCode.STORAGE), ended
            assert ended.code == 0 or "The disk is full" in ended.what, ended.what
            filler.unlink()
            again = runner.run(seen)
            assert again.code == 0, again.what
            shutil.move(inside / "site", tmp_path / "seen")
            assert told_by(load_site(tmp_path / "seen")) == short_stream.told[1]
            shutil.rmtree(tmp_path / "seen")
    assert ExitCode.STORAGE in codes
    assert codes[-1] == ExitCode.OK
