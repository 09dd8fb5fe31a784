"""Changes that make sound resources and rows odd: of structure, of values, of bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.fuzz_seeds import Json, seeds

Place = tuple[Any, Any]

#: In each odd value that is told apart from ordinary words: no message may hold it.
CANARY = "Qz7"
TIMES = [
    "0000-00-00", "0000-01-01T00:00:00Z", "0001-01-01", "0001-01-01T00:00:00+14:00",
    "9999-12-31", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-12:00", "10000-01-01",
    "290309-12-22", "294247-01-10T04:00:54.775807Z", "294248-01-01", "-0044-03-15",
    "2024-02-30", "2024-13-01", "2024-00-10", "2024-03-10T02:30:00", "2024-11-03T01:30:00",
    "2024-03-01T24:00:00Z", "2024-03-01T23:59:60Z", "2024-03-01T25:61:61Z", "2024-03-01T",
    "2024-03-01T08:30:00+99:99", "2024-03-01T08:30:00+14:00", "2024-03-01T08:30:00+1",
    "2024-03-01T08:30:00-00:00", "2024-03-01T08:30:00.123456789123Z", "2024-03-01 08:30",
    "2024-W09-5", "20240301", "2024-3-1", "2024-03", "2024", "24", "1e3", "infinity", "-infinity",
    "epoch", "now", "today", "2024-03-01 (BC)", "0044-03-15 (BC)",
    "\u0662\u0660\u0662\u0664-03-01", " 2024-03-01 ",
]  # fmt: skip
NUMBERS = [
    "1e400", "-1e400", "1e-400", "NaN", "nan", "Infinity", "-inf", "-0", "0x10", "010", "1,5",
    "1_0",
    "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" * 320, "1" * 5000,
    "0." + "1" * 400, "1.7976931348623157e308", "4.9e-324", "--1", "+1", ".5", "5.", "1e", "<",
    ">=",
    "<= 5", "<-1e400", "5 (L)", "5 mg", "\u0661\u0662", "½", "∞", "true", "null",
]  # fmt: skip
TEXTS = [
    "'; DROP TABLE fate.row; --", "\"; DROP SCHEMA event CASCADE; --", "' OR 1=1 --", "$$", "$1",
    "?",
    "%s%n%d", "%", "{", "}", "{{}}", "{0}", "${x}", "\\", "\\\\", "\\u0000", "/*", "--", ";", "'",
    '"', "''", "`", "e.id", "t.status", "*", ".*", "[", "(", "(?:", "../../etc/passwd", "-1", "-5",
    "#", "#m", "urn:", "urn:uuid:", "Patient/", "/Patient/x", "Patient/nobody", "Medication/gone",
    "http://x.example/fhir/Patient/1/_history/2", "Encounter/a|b", "entered-in-error", "cancelled",
    "Bundle", "Patient", "Observation", "MedicationAdministration", "patient", "Parameters", "",
    " ",
    "\t", "\n", "\r\n", "\0", "a\0b", "\ud800", "\udfff", "\U0001f600", "e\u0301", "\u202e",
    "\ufeff",
    "\u2028", "\x85", "\x1f", "\x7f", "ß" * 300, "x" * 5000, "normal", "vital-signs", "laboratory",
]  # fmt: skip
_OTHERS: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 2**31, 2**63, 2**64, 10**30, -(10**30), 1e308, [], {}, [[]],
    [{}], [None], {"": None}, [[[]]], {"value": {}}, {"reference": 5}, {"coding": [[]]}, "5", "",
]  # fmt: skip
#: Words of no JSON text, or of one that parsers read in several ways; they stand without quotes.
_RAW = [
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1" * 400, "01", "+1", "0x1F"),
    *(".5", "5.", "1.", "-", "'a'", "undefined", "True", "nul", "/* */1", '"\\ud800"', '"\\u0000"'),
    *('"\\x41"', '"\\u00e9\\ud83d\\ude00"', "1E5", "-0.0", "[1,]", '{"a":1,}', '{"a":1,"a":2}', ""),
    *('"a\tb"', '"\\/"', "1 2", "{}{}", "[", "]", "}"),
]
_TWICE, _BARE = "@twice@", "@bare@"
_BYTES = [
    b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\x85",
    b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\x1c", b"\x1a", b'"', b"\\", b"{", b"}", b"[", b"]", b",",
    b":", b" ", b"\t", b"'", b"\n\n", b"\n \t\n", b"9",
]  # fmt: skip


def _places(root: Any) -> Iterator[Place]:
    """Yield every place of a resource: what holds it, and its key or number there."""
    todo = [root]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            yield node, key
            if isinstance(node[key], dict | list):
                todo.append(node[key])


#: What one resource can take from another.
_POOL = [place for seed in seeds("") for place in _places(seed)]


def odd_text(random: Random) -> str:
    """Return a text that some reader may stumble over."""
    words = random.choice([TIMES, NUMBERS, TEXTS, TEXTS])
    text = random.choice(words)
    if random.random() < 0.2:
        text += CANARY + chr(random.choice([random.randrange(0xD800), random.randrange(0x3000)]))
    return text


def _deep(random: Random, value: Any) -> Any:
    for _ in range(random.choice([1, 2, 8, 56, 60, 61, 62, 63, 64, 65, 200])):
        value = [value] if random.random() < 0.5 else {"extension": value}
    return value


def _drop(_random: Random, at: Place) -> None:
    del at[0][at[1]]


def _double(random: Random, at: Place) -> None:
    node, key = at
    if isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        other = random.choice([node[key], random.choice(_OTHERS), odd_text(random)])
        node[key + _TWICE] = copy.deepcopy(other)


def _rename(random: Random, at: Place) -> None:
    node, key = at
    if isinstance(node, list):
        return _drop(random, at)
    known = [other for _, other in _POOL if isinstance(other, str)]
    odd = [odd_text(random), key.upper(), key + " ", "_" + key, key[:-1]]
    node[random.choice([random.choice(known), random.choice(odd)])] = node.pop(key)
    return None


def _replace(random: Random, at: Place) -> None:
    at[0][at[1]] = copy.deepcopy(random.choice(_OTHERS))


def _retext(random: Random, at: Place) -> None:
    at[0][at[1]] = odd_text(random)


def _bare(random: Random, at: Place) -> None:
    at[0][at[1]] = f"{_BARE}{random.randrange(len(_RAW))}{_BARE}"


def _wrap(random: Random, at: Place) -> None:
    node, key = at
    value = node[key]
    forms = [[value], {"value": value}, json.dumps(value), [value, value], _deep(random, value)]
    unlisted = value[0] if isinstance(value, list) and value else str(value)
    node[key] = copy.deepcopy(random.choice([*forms, unlisted]))


def _swap(random: Random, at: Place) -> None:
    node, key = random.choice(_POOL)
    at[0][at[1]] = copy.deepcopy(node[key])


def _adopt(random: Random, at: Place) -> None:
    """Give an object one more element, which belongs to another."""
    source, key = random.choice(_POOL)
    target = at[0] if isinstance(at[0], dict) else None
    if target is not None and isinstance(key, str):
        target[key] = copy.deepcopy(source[key])


def _contain(random: Random, at: Place) -> None:
    at[0]["contained" if isinstance(at[0], dict) else at[1]] = [
        copy.deepcopy(random.choice(_POOL)[0]) for _ in range(random.randrange(3))
    ]


_CHANGES: list[Callable[[Random, Place], None]] = [
    _drop, _double, _rename, _replace, _replace, _retext, _retext, _retext, _bare, _wrap, _swap,
    _swap, _adopt, _contain,
]  # fmt: skip


def _changed(random: Random) -> Json:
    found = copy.deepcopy(random.choice(seeds("")))
    if random.random() < 0.8:
        # else many resources share an id: copies and versions
        found["id"] = f"{found['id']}-{random.randrange(10_000)}"
    for _ in range(random.choice([1, 1, 1, 2, 3, 5])):
        places = list(_places(found))
        if places:
            random.choice(_CHANGES)(random, random.choice(places))
    return found


def _as_bytes(random: Random, resource: Json) -> bytes:
    shown = json.dumps(resource, ensure_ascii=random.random() < 0.5).replace(_TWICE, "")
    for number, word in enumerate(_RAW):
        shown = shown.replace(f'"{_BARE}{number}{_BARE}"', word)
    return shown.encode("utf-8", "surrogatepass")


def damaged(random: Random, line: bytes) -> bytes:
    """Return bytes with some cut off, turned over, put in, or put twice."""
    at = random.randrange(len(line) + 1)
    end = min(len(line), at + random.choice([1, 1, 4, 40]))
    turned = bytes(byte ^ (1 << random.randrange(8)) for byte in line[at:end])
    forms = [
        *(line[:at], line[at:], line[:at] + line[end:], line[:at] + turned + line[end:]),
        line[:at] + random.choice(_BYTES) + line[at:],
        line[:at] + random.choice(_BYTES) + line[at:],
        *(line + line, b"[" + line + b"]", line + b",", b" \t" + line + b"\t ", line + b"\r"),
        *(b"\xef\xbb\xbf" + line, b"", b"null", b"{}", b"[]", b'"' + line[:60] + b'"'),
        b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":' + line + b"}]}",
    ]
    return random.choice(forms)


def odd_resource(seed: str) -> bytes:
    """Return the line of a mutated resource, its end included; it may be several lines by now.

    Without its end, it is joined to the next.
    """
    random = Random(seed)  # noqa: S311 - no secret
    line = _as_bytes(random, _changed(random))
    if random.random() < 0.2:
        line = damaged(random, line)
    return line + (b"" if random.random() < 0.02 else b"\n")


def odd_row(seed: str, row: list[str]) -> bytes:
    """Return the line of a mutated CSV row, its end included."""
    random = Random(seed)  # noqa: S311 - no secret
    cells: list[str] = list(row)
    for _ in range(random.choice([1, 1, 2, 3])):
        at = random.randrange(len(cells) + 1)
        if at == len(cells) or random.random() < 0.1:
            cells[at:] = [random.choice(row), *cells[at:]] if random.random() < 0.5 else []
            if not cells:
                break
        else:
            text = odd_text(random)
            quoted = '"' + text.replace('"', '""') + '"'
            cells[at] = quoted if random.random() < 0.6 else text
    line = ",".join(cells).encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        line = damaged(random, line)
    return line + (b"" if random.random() < 0.02 else random.choice([b"\n", b"\r\n"]))
