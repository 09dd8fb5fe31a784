"""A folder that is encrypted, under a key that the test holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.base import duck, vault
from pipelines.base.files import make_private, write_durably
from pipelines.base.site import Site, load_site

SECRET = "5f" * 8 + "0123456789abcdef" * 3
OTHER = "ab" * 16 + "0123456789abcdef" * 2

# The lock has the module; on DuckDB 2 (make test-duckdb) there is none to install.
needs_crypto = pytest.mark.skipif(
    duck.crypto_file() is None, reason="no crypto module for this version of DuckDB is installed"
)


def site_that_encrypts(root: Path, secret: str = SECRET, *, encrypt: bool = True) -> Site:
    """A site of which there is nothing but its settings and its key."""
    make_private(root / "restricted")
    set_key(root, secret)
    (root / "site.toml").write_text(
        f"""[site]
id = "north"
zone = "America/New_York"
studies = ["iv_bisphosphonate"]
[privacy]
encrypt = {str(encrypt).lower()}
[[source]]
name = "ehr"
mapping = "mapping.toml"
path = "inbox"
"""
    )
    return load_site(root / "site.toml")


def set_key(root: Path, *secrets: str) -> None:
    """Put a key in the place of the site's."""
    write_durably(root / "restricted" / "site.key", "\n".join(secrets).encode(), mode=0o600)


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no site of another test be known, and none of this one stay."""
    monkeypatch.setattr(vault, "_SITES", {})
    monkeypatch.setattr(vault, "_PUBLISHED", {})
    monkeypatch.setattr(vault, "_MASTERS", {})
