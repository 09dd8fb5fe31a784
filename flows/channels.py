"""The channels that messages of the outbox go out by, as site.toml configures them."""

from __future__ import annotations

from collections.abc import Mapping

from flows.announce import Channel
from pipelines.base.site import Site


def channels_of(_site: Site) -> Mapping[str, Channel]:
    """Return the site's channels by name: none yet."""
    return {}
