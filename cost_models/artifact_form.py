"""What the content of an artifact must look like, and what in it does not, key by key."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

from cost_models.hardware import Precision, is_finite
from cost_models.operations.ops import KINDS, PRODUCTS
from cost_models.times.totals import COMPILED, FEATURES, Total

# Says what is wrong with the value of a key, one mistake after the other.
Check = Callable[[str, Any], Iterator[str]]


def mistakes(content: Any, precision: Precision, kinds: Collection[str]) -> Iterator[str]:
    """Say what is wrong with an artifact, each mistake with its key.

    Args:
        precision: that the artifact is to predict in.
        kinds: of artifacts, of which it must be one.
    """
    is_learned = isinstance(content, dict) and content.get("kind") == "learned"
    needed = {
        "kind": _one_of(list(kinds)),
        "precision": _one_of([precision]),
        "kinds": _named(_KIND, KINDS),
        "totals": _named(_TOTAL, _TOTALS),
        **({"features": _list_of(_text), "products": _PRODUCTS} if is_learned else {}),
    }
    optional = {"memory": _none_or(_SPREAD), "data": _list_of(_DATA, least=0)}
    yield from _fields(needed, optional, others=True)("", content)


def _number(*, above: float | None = None, least: float | None = None) -> Check:
    wanted = "" if above is None else f" > {above:g}"
    wanted += "" if least is None else f" ≥ {least:g}"

    def check(key: str, value: Any) -> Iterator[str]:
        if not (
            is_finite(value)
            and (above is None or value > above)
            and (least is None or value >= least)
        ):
            yield f"{key} is {str(value)[:40]}; must be a finite number{wanted}"

    return check


def _text(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{key} is {str(value)[:40]}; must be text"


def _numbers_as_text(key: str, value: Any) -> Iterator[str]:
    try:
        found = [float(number) for number in value.split()]
    except (AttributeError, ValueError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        yield f"{key} is {str(value)[:40]!r}; must be a line of finite numbers"


def _one_of(allowed: Collection[str]) -> Check:
    def check(key: str, value: Any) -> Iterator[str]:
        if value not in allowed:
            yield f"{key} is {str(value)[:40]}; must be {' or '.join(allowed)}"

    return check


def _none_or(other: Check) -> Check:
    return lambda key, value: iter(()) if value is None else other(key, value)


def _list_of(each: Check, *, least: int = 1, most: float = math.inf) -> Check:
    wanted = f"at least {least}" if least != most else str(least)

    def check(key: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            yield f"{key} is {str(value)[:40]}; must be a list of {wanted}"
            return
        for place, item in enumerate(value):
            yield from each(f"{key}[{place}]", item)

    return check


def _named(each: Check, names: Collection[str]) -> Check:
    """A mapping from some of the names."""
    return _fields({}, dict.fromkeys(names, each))


def _fields(
    needed: Mapping[str, Check], optional: Mapping[str, Check], *, others: bool = False
) -> Check:
    """A mapping with all that is needed; `others`: and with what is none of these."""
    known = {**needed, **optional}

    def check(key: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{key or 'its content'} is {str(value)[:40]!r}; must be a mapping"
            return
        before = f"{key}." if key else ""
        yield from (f"{before}{name} is missing" for name in needed if name not in value)
        for name, inner in value.items():
            if name in known:
                yield from known[name](f"{before}{name}", inner)
            elif not others:
                yield f"{before}{name} is unknown; known: {', '.join(known)}"

    return check


def _correction(key: str, value: Any) -> Iterator[str]:
    of_features = _named(_number(), FEATURES)
    ends = {"low": _number(), "high": _number()}
    found = list(_fields({}, {"weights": of_features, "centers": of_features, **ends})(key, value))
    yield from found
    if found:
        return
    if value.get("weights", {}).keys() != value.get("centers", {}).keys():
        yield f"{key}.centers must have the names of {key}.weights"
    if value.get("low", 0.0) > value.get("high", 0.0):
        yield f"{key}.low is above {key}.high"


_POSITIVE, _NOT_NEGATIVE = _number(above=0), _number(least=0)
_DATA = _fields({}, {"sha256": _text}, others=True)  # of files; studies have none
_ROWS = {"rows": _NOT_NEGATIVE}
_KIND = _fields(
    {"utilisation": _POSITIVE, "overhead_s": _NOT_NEGATIVE, "sigma": _NOT_NEGATIVE}, _ROWS
)
_SPREAD = _fields({"factor": _POSITIVE, "sigma": _NOT_NEGATIVE}, _ROWS)
_TOTAL = _fields(
    {"factor": _POSITIVE, "sigma": _NOT_NEGATIVE, "overhead_s": _NOT_NEGATIVE},
    {**_ROWS, "correction": _correction},
)
_TOTALS = [f"{how}{total}" for how in ("", COMPILED) for total in get_args(Total)]
_RANGES = _named(_list_of(_number(), least=4, most=4), PRODUCTS)
_PRODUCTS = _fields(
    {
        "rows": _NOT_NEGATIVE,
        "law": _fields(dict.fromkeys(("overhead_s", "utilisation", "best"), _POSITIVE), {}),
        "thresholds": _list_of(_numbers_as_text),
        "members": _list_of(_list_of(_text)),
        "spread": _fields(
            {
                **dict.fromkeys(("constant", "least"), _POSITIVE),
                **dict.fromkeys(("of_disagreement", "of_seconds"), _number()),
                **dict.fromkeys(("low", "high"), _RANGES),
            },
            {},
        ),
    },
    {},
)
