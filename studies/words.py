"""Words that the tables of a study share: names and lengths of time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]
Hours = Annotated[float, Field(ge=0)]
Days = Annotated[float, Field(ge=0)]
