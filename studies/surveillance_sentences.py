"""What a study watches night by night, in sentences, for whoever signs its alpha."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from studies.phrases import listed
from studies.surveillance import ALL, PairTable, SurveillanceTable

if TYPE_CHECKING:
    from studies.model import StudyModel

_NUMBERS = {1: "One primary pair is", 2: "Two primary pairs are", 3: "Three primary pairs are"}


def surveillance_sentences(model: StudyModel) -> list[str]:
    """Return what is watched, against what, when looks are taken, and what they cost in all."""
    settings = model.surveillance
    if not settings.pair:
        return ["No pair is watched: no look is taken, and no alert becomes a signal."]
    return [
        *_in_all(settings),
        *(" ".join(_pair(settings, one)) for one in settings.pair),
        "A look is taken on each night on which closed windows changed; its boundary is the fewest "
        "events that keep to the alpha left up to there, computed exactly.",
        "A change of what looks depend on (the pair, the dates, outcomes, codes, limits, the "
        "version) starts the pair anew; one of other pairs or of published.csv does not.",
    ]


def _in_all(settings: SurveillanceTable) -> Iterable[str]:
    n = len(settings.pair)
    total = math.fsum(one.alpha for one in settings.pair)
    since = f"units from {settings.starts_on} on" if settings.starts_on else "all units"
    yield (
        f"{_NUMBERS.get(n, f'{n} primary pairs are')} watched by sequential tests (MaxSPRT), over "
        f"{since}; where nothing is wrong, all looks together signal with a chance of at most "
        f"{total:g}."
    )


def _pair(settings: SurveillanceTable, pair: PairTable) -> Iterable[str]:
    after = "any drug" if pair.watched == ALL else pair.watched
    yield (
        f"{pair.outcome} after {after} (window {pair.window}), at alpha {pair.alpha:g}: patients "
        "count by their first event, units at risk up to it, in closed windows of whole follow-up."
    )
    yield _reference(settings, pair)
    yield (
        f"The first look comes with {pair.first_look_expected:g} expected, a signal needs "
        f"{pair.min_events} events or more, and it ends with {pair.max_expected:g} expected, fixed "
        "beforehand."
    )


def _reference(settings: SurveillanceTable, pair: PairTable) -> str:
    if pair.reference_first is not None and pair.reference_later is not None:
        counts = [
            f"{events} of {units} {which} units"
            for which, (events, units) in (
                ("first", pair.reference_first),
                ("later", pair.reference_later),
            )
        ]
        return f"Expected is what others have counted ({listed(counts)}), with the error of that."
    if pair.rate_first is not None and pair.rate_later is not None:
        return (
            f"Expected are {100 * pair.rate_first:g} % of first and {100 * pair.rate_later:g} % of "
            "later units, taken as known."
        )
    return (
        f"Expected is what the site's own units from {settings.baseline_from} up to the start had, "
        "as the first look saw them, with the error of that."
    )
