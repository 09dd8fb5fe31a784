"""The edges of the rules that are planted: traps in event-free units, and styles of events."""

from __future__ import annotations

from enum import IntEnum


class Trap(IntEnum):
    """What looks like an event in the records of an event-free unit, and is none."""

    NONE = 0
    FEVER_AT_WINDOW_END = 1
    FEVER_ONGOING = 2
    FEVER_ROUNDS_DOWN = 3
    FEVER_AFTER_CLOCK_CHANGE = 4
    HEART_TEN_MINUTES_APART = 5
    HEART_AFTER_CANNULATION = 6
    HEART_FIFTEEN_PERCENT = 7
    HEADACHE_ONGOING = 8
    CODE_DAY_AFTER_WINDOW = 9
    CALCIUM_GRADE_1_TWICE = 10
    CALCIUM_AT_CUT = 11
    CALCIUM_GRADE_2_TWICE = 12
    CALCIUM_AT_WINDOW_END = 13
    CALCIUM_CORRECTED_UP = 14
    CALCIUM_AT_OWN_LIMIT = 15
    CALCIUM_WITHIN_GRACE = 16
    PHOSPHATE_AT_CUT = 17
    UNTESTED_TEXT_ONLY = 18
    UNTESTED_HAEMOLYSED = 19
    UNTESTED_CANCELLED = 20


class Style(IntEnum):
    """How an event shows in the records: ordinary, or at an edge of the rules."""

    PLAIN = 0
    AT_START = 1
    LAST_MINUTE = 2
    ROUNDS_UP = 3
    FAHRENHEIT = 4
    WORSENED = 5
    BEFORE_CLOCK_CHANGE_ENDS = 6
    CODE_ON_INFUSION_DAY = 7
    CODE_ON_LAST_DAY = 8
    CORRECTED_DOWN = 9
