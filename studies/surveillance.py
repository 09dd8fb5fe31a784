"""What a study may say of its sequential surveillance: which pairs, against what, at which error.

Part of the typed form of study.toml (studies/model.py): a default lives here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pipelines.base.tomlcheck import Mistake, did_you_mean
from studies.words import Name, Table

if TYPE_CHECKING:
    from studies.load import Study
    from studies.model import StudyModel

#: Over all primary pairs of a study (methods.md).
MAX_ALPHA = 0.05

#: What stands for all units, where neither a drug nor a class is named.
ALL = "all"

Rate = Annotated[float, Field(gt=0, lt=1)]


def _is_share(counts: list[int]) -> list[int]:
    if len(counts) != 2 or not 0 < counts[0] <= counts[1]:
        msg = "must be [events, units], at least one event and no more of them than units"
        raise ValueError(msg)
    return counts


#: Units with an event, and units.
Counts = Annotated[list[int], AfterValidator(_is_share)]


class PairTable(Table):
    """A primary pair: an outcome after a drug, a drug class or any unit, tested night by night."""

    outcome: Name = Field(description="A published outcome.")
    window: Literal["risk", "extended", "peak"] = Field("risk", description="Its window.")
    drug_class: Name | None = Field(None, description="Only units of this class; unset: of all.")
    drug: Name | None = Field(None, description="Only units of this drug (its concept).")
    alpha: float = Field(gt=0, le=MAX_ALPHA, description="Type I error of the whole surveillance.")
    max_expected: float = Field(
        gt=0,
        le=1000,
        description="Expected events at which it ends, fixed beforehand: fewer, and small excesses "
        "are missed; more, and each takes longer to be found.",
    )
    min_events: int = Field(
        3, ge=1, le=100, description="Fewest patients with an event that can be a signal."
    )
    first_look_expected: float = Field(
        1.0, ge=0, le=1000, description="Expected events from which on the first look is taken."
    )
    rate_first: Rate | None = Field(
        None, description="Known risk of a unit that is the patient's first in record."
    )
    rate_later: Rate | None = Field(
        None, description="Known risk of a later unit of a patient without an event so far."
    )
    reference_first: Counts | None = Field(
        None,
        description="Units with an event, and units, first in record, that others counted: "
        "`[33, 123]`. A reference of so many events stays as uncertain as they are.",
    )
    reference_later: Counts | None = Field(None, description="The same of later units.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> PairTable:
        if self.drug is not None and self.drug_class is not None:
            msg = "names a drug and a class; leave one of them out"
            raise ValueError(msg)
        if (self.rate_first is None) != (self.rate_later is None):
            msg = "gives one of rate_first and rate_later; give both, or none and a baseline"
            raise ValueError(msg)
        if (self.reference_first is None) != (self.reference_later is None):
            msg = "gives one of reference_first and reference_later; give both, or none"
            raise ValueError(msg)
        if self.rate_first is not None and self.reference_first is not None:
            msg = "gives rates and counts as reference; leave one of them out"
            raise ValueError(msg)
        if self.first_look_expected >= self.max_expected:
            msg = "the first look comes after the end; lower first_look_expected"
            raise ValueError(msg)
        return self

    @property
    def watched(self) -> str:
        """Name of the drug or class whose units are watched; `all` for any."""
        return self.drug or self.drug_class or ALL

    @property
    def reference(self) -> Literal["fixed", "published", "baseline"]:
        """What events are expected by: known rates, counts of others, or the site's baseline."""
        if self.rate_first is not None:
            return "fixed"
        return "baseline" if self.reference_first is None else "published"


class SurveillanceTable(Table):
    """Sequential surveillance; without a pair there is none."""

    starts_on: date | None = Field(
        None, description="Units from this local date on are watched; unset: all of the record."
    )
    baseline_from: date | None = Field(
        None,
        description="Units from this local date up to the start estimate the reference of pairs "
        "that give none.",
    )
    pair: list[PairTable] = Field(default_factory=list, description="The primary pairs.")

    @model_validator(mode="after")
    def _adds_up(self) -> SurveillanceTable:
        total = math.fsum(one.alpha for one in self.pair)
        if total > MAX_ALPHA + 1e-12:
            msg = f"the alpha of all pairs adds up to {total:g}; at most {MAX_ALPHA:g} may be spent"
            raise ValueError(msg)
        names = Counter((one.outcome, one.window, one.watched) for one in self.pair)
        if twice := [name for name, n in names.items() if n > 1]:
            msg = f"watches {' / '.join(twice[0])} twice; leave one out"
            raise ValueError(msg)
        starts, since = self.starts_on, self.baseline_from
        if since is not None and (starts is None or since >= starts):
            msg = "the baseline must begin before starts_on"
            raise ValueError(msg)
        if since is None and any(one.reference == "baseline" for one in self.pair):
            msg = "a pair gives no reference; give it rates or counts, or give a baseline_from"
            raise ValueError(msg)
        return self


def pair_hash(study: Study, pair: PairTable) -> str:
    """Return the SHA-256 of all that looks at a pair depend on.

    That is the study's settings, its codes and limits in use, the two dates and the pair itself;
    not the other pairs, what was published, nor the label or the source of a code.
    """
    settings = study.model.model_dump(mode="json")
    settings["surveillance"]["pair"] = [pair.model_dump(mode="json")]
    if pair.reference != "baseline":
        del settings["surveillance"]["baseline_from"]
    codes = sorted(study.concept_rows())
    content = [settings, codes, study.limits_in_use]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def surveillance_mistakes(model: StudyModel) -> Iterator[Mistake]:
    """Yield what pairs name that the study does not have, or cannot test."""
    outcomes = {one.name: one for one in model.outcome}
    drugs = {one.concept: one.drug_class for one in model.drug}
    for place, pair in enumerate(model.surveillance.pair):
        path = ("surveillance", "pair", place)
        one = outcomes.get(pair.outcome)
        if one is None:
            yield Mistake(
                (*path, "outcome"),
                f"there is no outcome {pair.outcome!r}{did_you_mean(pair.outcome, outcomes)}",
            )
            continue
        if not one.publish:
            yield Mistake((*path, "outcome"), f"{pair.outcome!r} is not published; watch another")
        if pair.window not in {window.name for window in one.window}:
            yield Mistake((*path, "window"), f"{pair.outcome!r} has no such window; add it there")
        if pair.drug is not None and pair.drug not in drugs:
            yield Mistake(
                (*path, "drug"), f"is no drug of the study{did_you_mean(pair.drug, drugs)}"
            )
        classes = set(one.drug_classes) or set(drugs.values())
        wanted = pair.drug_class or drugs.get(pair.drug or "")
        if wanted is not None and wanted not in classes:
            yield Mistake(
                (*path, "drug_class" if pair.drug_class else "drug"),
                f"{pair.outcome!r} is not watched after the class {wanted!r}",
            )
        if _tail(pair.min_events, pair.max_expected) <= pair.alpha:
            yield Mistake(
                (*path, "min_events"),
                "cannot be reached often enough to spend alpha; ask for fewer events or raise "
                "max_expected",
            )


def _tail(events: int, mean: float) -> float:
    """Return the chance of at least so many events of a Poisson variable."""
    log_terms = (k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(events))
    return 1 - math.fsum(math.exp(one) for one in log_terms)
