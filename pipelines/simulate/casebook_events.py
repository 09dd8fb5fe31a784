"""The worked edges of fevers, deaths, doses and late records: see `casebook.py`."""

from __future__ import annotations

from pipelines.simulate import codes
from pipelines.simulate.casebook import (
    ALL_OPEN,
    ANAPHYLAXIS,
    CUT,
    END,
    EVENT,
    FEVER,
    FREE,
    HYPO,
    OPEN,
    OPEN_EVENT,
    START,
    Case,
    Dosing,
    diagnosis,
    heart,
    infusion,
    report,
    seen,
    temperature,
    vital,
)
from pipelines.simulate.clock import DAY, HOUR
from pipelines.simulate.codes import PAMIDRONATE


def fevers() -> list[Case]:
    """Where a fever lies, and whether it is new."""
    return [
        Case(
            "event exactly at lo",
            (infusion(), temperature(START, 38.5), *seen()),
            (Dosing(answers=FEVER),),
        ),
        Case(
            "event exactly at hi",
            (infusion(), temperature(END + 3 * DAY, 38.5), *seen()),
            (Dosing(by_days=FEVER),),
        ),
        Case(
            "reaction during the infusion",
            (infusion(), temperature(START + 10, 38.4), *seen()),
            (Dosing(answers=FEVER),),
        ),
        Case(
            "day-precision fever on the infusion date",
            (infusion(), diagnosis(START, "R50.9"), *seen()),
            (Dosing(answers=FEVER, facts={("fever", "onset_precision"): "day"}),),
        ),
        Case(
            "pamidronate days 1, 2, 3; fever day 2",
            (
                *(infusion(n * DAY + START, n * DAY + END, PAMIDRONATE) for n in range(3)),
                temperature(DAY + 20 * HOUR, 38.5),
                *seen(3 * DAY + 11 * HOUR),
            ),
            (Dosing(end=2 * DAY + END, drug=PAMIDRONATE, answers=FEVER),),
        ),
        Case(
            "fever 38.1 on day -1, 38.3 on day +1",
            (infusion(), temperature(-2 * HOUR, 38.1), temperature(DAY + 10 * HOUR, 38.3), *seen()),
            (Dosing(facts={("fever", "is_pre_existing"): "true"}),),
        ),
        Case(
            "fever 38.1 an hour before, 38.3 on day +1",
            (
                infusion(),
                temperature(START - HOUR, 38.1),
                temperature(DAY + 10 * HOUR, 38.3),
                *seen(),
            ),
            (Dosing(facts={("fever", "is_pre_existing"): "true"}),),
        ),
        Case(
            "fever 38.1 on day -1, 40.2 on day +1",
            (infusion(), temperature(-2 * HOUR, 38.1), temperature(DAY + 10 * HOUR, 40.2), *seen()),
            (Dosing(answers=FEVER, facts={("fever", "is_worsened"): "true"}),),
        ),
        Case(
            "second infusion 48 h after the first, fever 12 h later",
            (
                infusion(),
                infusion(2 * DAY + START, 2 * DAY + END),
                temperature(2 * DAY + START + 12 * HOUR, 38.5),
                *seen(3 * DAY + 11 * HOUR),
            ),
            (
                Dosing(
                    cut_at=2 * DAY + START,
                    answers=CUT | {"fever_all": EVENT},
                ),
                Dosing(2 * DAY + START, 2 * DAY + END, answers=FEVER | {"fever_all": EVENT}),
            ),
        ),
        Case(
            "second infusion 48 h after the first, fever 2 h before it",
            (
                infusion(),
                infusion(2 * DAY + START, 2 * DAY + END),
                temperature(2 * DAY + START - 2 * HOUR, 38.5),
                *seen(3 * DAY + 11 * HOUR),
            ),
            (
                Dosing(cut_at=2 * DAY + START, answers=CUT | FEVER | {"fever_all": EVENT}),
                Dosing(2 * DAY + START, 2 * DAY + END, answers={"fever_all": FREE}),
            ),
        ),
        Case(
            "home infusion, no reading after",
            (infusion(),),
            (Dosing(is_seen=False),),
            setting="home",
        ),
        Case(
            "heart rate 150 and 38 breaths twice within 10 min of cannulation, age 4",
            (
                infusion(),
                *(heart(START + n, 150) for n in (2, 8)),
                *(vital(START + n, codes.RESPIRATORY_RATE, 38, "/min") for n in (2, 8)),
                *seen(),
            ),
            years=4.5,
        ),
    ]


def deaths_and_doses() -> list[Case]:
    """Reactions that kill, infusions that stop or were never given, and who comes late."""
    died = (infusion(), report(START + 20, "T78.2XXA", "Anaphylactic shock", **ANAPHYLAXIS))
    tonight = (
        infusion(4 * HOUR, 4 * HOUR + 30),
        report(4 * HOUR + 20, "T78.2XXA", "Anaphylactic shock", **ANAPHYLAXIS),
    )
    again = infusion(12 * HOUR + 30, 13 * HOUR, order_id="R")
    return [
        Case(
            "infusion 09:00, anaphylaxis 09:20, death 10:00",
            died,
            (
                Dosing(
                    cut_at=10 * HOUR,
                    is_seen=False,
                    answers={"anaphylaxis": EVENT},
                    facts={("anaphylaxis", "is_serious"): "true"},
                ),
            ),
            died=10 * HOUR,
        ),
        Case(
            "the same, 20 h ago, data_through today",
            tonight,
            (
                Dosing(
                    4 * HOUR,
                    4 * HOUR + 30,
                    cut_at=5 * HOUR,
                    is_seen=False,
                    answers=ALL_OPEN
                    | {f"{name}/extended": OPEN for name in (HYPO, "hypophosphataemia")}
                    | {"anaphylaxis": OPEN_EVENT},
                ),
            ),
            died=5 * HOUR,
            is_tonight=True,
        ),
        Case(
            "09:00, stopped 09:30 for chills, restarted 12:30",
            (
                infusion(status="stopped", order_id="R"),
                report(END - 5, "R68.83", "Chills without fever", grade=1),
                again,
                *seen(),
            ),
            (Dosing(end=13 * HOUR, answers={"chills": EVENT, "any_side_effect": EVENT}),),
        ),
        Case(
            "infusion tonight, its patient record tomorrow",
            (infusion(), temperature(DAY + 9 * HOUR, 38.6), *seen()),
            (Dosing(answers=FEVER),),
            is_registered_late=True,
        ),
        Case(
            "infusion retracted after three nights",
            (
                infusion(-60 * DAY + START, -60 * DAY + END, is_withdrawn=True, withdrawn_after=3),
                infusion(),
                *seen(),
            ),
        ),
    ]
