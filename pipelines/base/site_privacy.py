"""The table `[privacy]` of site.toml: what may leave the site, and how it lies there."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipelines.base.tomlcheck import Checked

#: What could be known of a patient from outside (quasi-identifiers), of all that rows can tell
#: where `row_level` is `deidentified`.
RowColumn = Literal[
    "patient",
    "drug",
    "age_band",
    "sex",
    "setting",
    "indication_type",
    "premedicated",
    "ordinal_in_record",
    "n_infusions",
    "day_in_record",
]


class PrivacyTable(Checked):
    """What may leave the site."""

    min_cell: int = Field(
        11,
        ge=1,
        strict=True,
        description="Smallest count that reports, profiles and packs show.",
    )
    encrypt: bool = Field(
        default=False,
        strict=True,
        description="Encrypt what lies in the restricted folder, each file under a key made from "
        "the site's; needs the extra `encryption`. `dripwatch encrypt` writes anew what is there; "
        "until then runs stop.",
    )
    tell_watched: bool = Field(
        default=False,
        description="Whether packs tell units at risk and events of what a study watches, for "
        "looks at all hospitals together. Beside a pack's other counts, events are often a range, "
        "and units older.",
    )
    row_columns: list[RowColumn] = Field(
        ["drug", "sex"],
        description="What de-identified rows tell of what could be known from outside; `patient`: "
        "which units are one patient's. At least min_cell patients must hold each combination, or "
        "no row is published.",
    )
    encrypt_published: bool = Field(
        default=False,
        strict=True,
        description="Encrypt the published warehouse, under a key of its own that `dripwatch key "
        "warehouse` tells; needs the extra `encryption`.",
    )
    idmap: bool = Field(
        default=False,
        strict=True,
        description="Keep the identifiers of patients in `idmap/` of the restricted folder: with "
        "them `dripwatch idmap` leads from a key to a patient. Needs `encrypt`.",
    )
    disk_is_encrypted: bool = Field(
        default=False,
        strict=True,
        description="The site's word that the disk of the restricted folder is encrypted where "
        "Linux cannot tell: a self-encrypting drive, a cloud's volume, a file server.",
    )

    @model_validator(mode="after")
    def _identifiers_are_encrypted(self) -> PrivacyTable:
        if self.idmap and not self.encrypt:
            msg = "`idmap` needs `encrypt = true`: identifiers of patients never lie there plain"
            raise ValueError(msg)
        return self
