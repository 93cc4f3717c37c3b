"""The rule of the split in a description."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wukong.data.columns import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wukong.data.prepare.marked_yaml import Value


@dataclass(frozen=True, kw_only=True)
class Split:
    """How rows are divided.

    Attributes:
        by: `files` (as given), `random`, `time` (validation later than train, test later than
            validation) or `column` (its values name the split).
        column: of the files, for time and column.
        shares: of train, validation and test, for random and time.
        starts: the first times of validation and test, in place of shares.
        values: for column, the values that stand for each split.
        validation_of: for files without a validation file, the split from which it is drawn.
        validation_share: how much of that split.
        seed: of what is drawn.
    """

    by: str
    column: str = ""
    shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    starts: tuple[float, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    validation_of: str = ""
    validation_share: float = 0.0
    seed: int = 0


def read_split(value: Value) -> Split:
    """Read the rule, noting its mistakes."""
    keys = {
        "files": ("by", "validation"),
        "random": ("by", "shares", "seed"),
        "time": ("by", "column", "shares", "starts"),
        "column": ("by", "column", *SPLITS),
    }
    by = value.mapping().get("by")
    if by is None:
        value.refuse("has no key `by`")
        return Split(by="files")
    rule = by.choice(*keys)
    found = value.mapping(keys[rule])
    optional: dict[str, Any] = {}
    if "shares" in found:
        shares = found["shares"].numbers(len(SPLITS), 0)
        if not any(shares):
            found["shares"].refuse("are all 0; must not be")
        optional["shares"] = tuple(share / (sum(shares) or 1.0) for share in shares)
    if "starts" in found:
        mistakes = len(value.mistakes)
        first, second = optional["starts"] = found["starts"].numbers(2)
        if first >= second and len(value.mistakes) == mistakes:
            found["starts"].refuse("must ascend: validation's first time, then test's")
        if "shares" in found:
            found["starts"].refuse("stands beside shares; must be one of them")
    if "seed" in found:
        optional["seed"] = found["seed"].whole(0)
    if rule == "files" and "validation" in found:
        optional |= _drawn(found["validation"])
    if rule == "column":
        optional["values"] = _values(value, found)
    if "column" in found:
        optional["column"] = found["column"].text()
    elif "column" in keys[rule]:
        value.refuse("has no key `column`")
    return Split(by=rule, **optional)


def _values(value: Value, found: Mapping[str, Value]) -> dict[str, tuple[str, ...]]:
    """Read which values of a column stand for each split."""
    values = {name: found[name].texts() for name in SPLITS if name in found}
    for name in SPLITS:
        if not values.get(name):
            value.refuse(f"has no values for {name}; must have some for {', '.join(SPLITS)}")
    named = [one for texts in values.values() for one in dict.fromkeys(texts)]
    twice = sorted({one for one in named if named.count(one) > 1})
    if twice:
        value.refuse(f"has {', '.join(twice)} in two splits; must have each value in one")
    return values


def _drawn(value: Value) -> dict[str, Any]:
    """Read how validation is drawn from another split."""
    found = value.mapping(("of", "share", "seed"))
    for key in ("of", "share"):
        if key not in found:
            value.refuse(f"has no key `{key}`")
    optional: dict[str, Any] = {}
    if "of" in found:
        optional["validation_of"] = found["of"].choice("train", "test")
    if "share" in found:
        optional["validation_share"] = found["share"].number(0)
        if not 0 < optional["validation_share"] < 1:
            found["share"].refuse(f"is {found['share'].shown()}; must be between 0 and 1")
    if "seed" in found:
        optional["seed"] = found["seed"].whole(0)
    return optional
