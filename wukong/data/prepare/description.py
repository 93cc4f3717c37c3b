"""What the columns of a data set are, read from a YAML file; all its mistakes at once.

A description is a mapping with `name`, `format`, `files`, `split` and `columns`; see the files in
`wukong/data/descriptions`, and `Description`, `Split` and `Column` for what each key means.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import DataError
from wukong.data.columns import SPLITS
from wukong.data.hashing import MOST_BUCKETS
from wukong.data.prepare.marked_yaml import Value, read_marked
from wukong.data.prepare.split_rule import Split, read_split
from wukong.schema import task_mistakes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHIPPED_FOLDER = Path(__file__).parents[1] / "descriptions"
FORMATS = ("csv", "tsv", "libsvm", "parquet")
TRANSFORMS = ("none", "standardize", "log", "log_standardize")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the prepared data.

    Attributes:
        name: of the feature or task.
        type: label, dense, vector, categorical, multi_hot, sequence, weight or group.
        source: the column of the files; in libsvm files `label`, `qid`, `indices` (all that are
            not 0) or one index.
        loss_weight: of a label's task.
        mask: a column of the files; where it is 0, this label is unobserved.
        positive, negative: values of a label; numbers are compared as numbers.
        unobserved: values that stand for no label.
        at_least: the lowest number that is positive, in place of `positive` and `negative`.
        transform: of dense values; log is sign(x) · ln(1 + |x|), and standardize subtracts train's
            mean and divides by its standard deviation.
        file: a `.npy` matrix; a vector is its row with the number that `source` holds, and zeros
            where there is no such row.
        minimum_count: values that are rarer in train have the id of unseen values.
        hash: rows of the table that hashes are spread over, in place of a vocabulary (row 0 is for
            missing values); 0: a vocabulary.
        shares: the column whose vocabulary, counted over both, or whose buckets this one shares.
        separator: between the values of a multi-hot or sequence field; an empty field has none.
        max_length: how many of the last values of a sequence are kept; 0: all.
        pooling: how the embeddings of several values become one, sum or mean.
    """

    name: str
    type: str
    source: str
    loss_weight: float = 1.0
    mask: str = ""
    positive: tuple[str, ...] = ("1", "true")
    negative: tuple[str, ...] = ("0", "false")
    unobserved: tuple[str, ...] = ()
    at_least: float | None = None
    transform: str = "standardize"
    file: str = ""
    minimum_count: int = 1
    hash: int = 0
    shares: str = ""
    separator: str = "|"
    max_length: int = 0
    pooling: str = "sum"


@dataclass(frozen=True, kw_only=True)
class Description:
    """A whole description.

    Attributes:
        files: split → names below the data folder; one entry `all` where rows decide.
        names: the columns of text files without a header.
        missing: what stands for no number in dense, weight and time columns.
        baseline: the categorical column of the mean baseline; "" the best on validation.
        notes: what a reader of results should know.
    """

    name: str
    format: str
    files: Mapping[str, tuple[str, ...]]
    split: Split
    columns: tuple[Column, ...]
    separator: str
    quote: str | None
    encoding: str = "utf-8"
    names: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("",)
    baseline: str = ""
    notes: tuple[str, ...] = ()

    def of_type(self, *types: str) -> tuple[Column, ...]:
        """Return the columns of some types, in order."""
        return tuple(column for column in self.columns if column.type in types)


def shipped() -> tuple[str, ...]:
    """Name the descriptions that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml")))


def description_path(name: str | Path) -> Path:
    """Find a description: one that is shipped, by its name, or a file.

    Raises:
        DataError: where there is none.
    """
    path = SHIPPED_FOLDER / f"{name}.yaml" if str(name) in shipped() else Path(name)
    if not path.is_file():
        raise DataError(
            f"no such description; must be a YAML file or one of {', '.join(shipped())}",
            where=str(name),
        )
    return path


def load_description(name: str | Path) -> Description:
    """Read a description.

    Raises:
        DataError: where there is none, or with all mistakes, one a line as `file:line: key …`.
    """
    path = description_path(name)
    root = read_marked(path)
    description = _description(root, path.stem)
    if root.mistakes:
        raise DataError(
            "\n".join(dict.fromkeys(root.mistakes)), hint="see the shipped ones for examples"
        )
    return description


def _not_empty(value: Value) -> str:
    text = value.text()
    if not text:
        value.refuse("is empty; must be at least one character")
    return text


_TOP = (
    *("name", "format", "files", "split", "columns", "separator", "quote", "encoding"),
    *("names", "missing", "baseline", "notes"),
)
_REQUIRED = ("format", "files", "split", "columns")
# key of a column → the field of `Column`, and how it is read.
_FIELDS: Mapping[str, tuple[str, Callable[[Value], Any]]] = {
    "from": ("source", Value.text),
    "weight": ("loss_weight", lambda value: value.number(0)),
    "mask": ("mask", Value.text),
    "positive": ("positive", Value.texts),
    "negative": ("negative", Value.texts),
    "unobserved": ("unobserved", Value.texts),
    "at_least": ("at_least", Value.number),
    "transform": ("transform", lambda value: value.choice(*TRANSFORMS)),
    "file": ("file", Value.text),
    "minimum_count": ("minimum_count", lambda value: value.whole(1)),
    "hash": ("hash", lambda value: value.whole(2, MOST_BUCKETS)),
    "shares": ("shares", Value.text),
    "separator": ("separator", _not_empty),
    "max_length": ("max_length", lambda value: value.whole(1)),
    "pooling": ("pooling", lambda value: value.choice("sum", "mean")),
}
_IDS = ("from", "minimum_count", "hash", "shares")
# type → the keys that a column of it may have, besides `type`.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "label": ("from", "weight", "mask", "positive", "negative", "unobserved", "at_least"),
    "dense": ("from", "transform"),
    "vector": ("from", "file"),
    "categorical": _IDS,
    "multi_hot": (*_IDS, "separator", "pooling"),
    "sequence": (*_IDS, "separator", "pooling", "max_length"),
    "weight": ("from",),
    "group": ("from",),
}


def _description(root: Value, stem: str) -> Description:
    top = root.mapping(_TOP)
    for key in _REQUIRED:
        if key not in top:
            root.refuse(f"{key} is missing")
    kind = top["format"].choice(*FORMATS) if "format" in top else "csv"
    split = read_split(top["split"]) if "split" in top else Split(by="files")
    columns = _columns(top["columns"]) if "columns" in top else ()
    optional: dict[str, Any] = {
        key: top[key].texts() for key in ("names", "missing", "notes") if key in top
    }
    optional |= {key: top[key].text() for key in ("encoding", "baseline") if key in top}
    quote = top["quote"].text() if "quote" in top else '"' if kind == "csv" else "none"
    separator = top["separator"].text() if "separator" in top else "\t" if kind == "tsv" else ","
    if not _is_mark(separator):
        top["separator"].refuse(f"is {separator!r}; must be one character of ASCII")
    if quote != "none" and (not _is_mark(quote) or quote == separator):
        top["quote" if "quote" in top else "separator"].refuse(
            f"is {quote!r}; must be one character of ASCII that separates no fields, or none"
        )
    names = optional.get("names", ())
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        top["names"].refuse(f"holds {', '.join(twice)} twice; must hold each name once")
    if "encoding" in top and not _keeps_ascii(optional["encoding"]):
        top["encoding"].refuse(
            f"is {optional['encoding']!r}; must be utf-8, latin-1, or another one that writes "
            "ASCII as it is"
        )
    if "baseline" in top and optional["baseline"] not in [
        column.name for column in columns if column.type == "categorical"
    ]:
        top["baseline"].refuse(f"is {optional['baseline']!r}; must be a categorical column")
    return Description(
        name=top["name"].text() if "name" in top else stem,
        format=kind,
        files=_files(top["files"], split) if "files" in top else {},
        split=split,
        columns=columns,
        separator=separator,
        quote=None if quote == "none" else quote,
        **optional,
    )


def _files(value: Value, split: Split) -> dict[str, tuple[str, ...]]:
    if split.by != "files":
        return {"all": _some(value)}
    needed = [s for s in SPLITS if s != "validation" or not split.validation_of]
    files = {name: _some(names) for name, names in value.mapping(SPLITS).items()}
    for name in needed:
        if name not in files:
            value.refuse(f"has no {name}; must name the files of {', '.join(needed)}")
    return files


def _some(value: Value) -> tuple[str, ...]:
    texts = value.texts()
    if not texts:
        value.refuse("is an empty list; must name at least one file")
    return texts


def _is_mark(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text not in "\n\r\0"


def _keeps_ascii(encoding: str) -> bool:
    try:
        return "a,\n".encode(encoding).removeprefix(codecs.BOM_UTF8) == b"a,\n"
    except (LookupError, ValueError):
        return False


def _columns(value: Value) -> tuple[Column, ...]:
    columns = []
    entries = value.mapping()
    for name, entry in entries.items():
        kind_value = entry.mapping().get("type")
        if kind_value is None:
            entry.refuse(f"has no key `type`; must be one of {', '.join(_KEYS)}")
            continue
        kind = kind_value.choice(*_KEYS)
        given = entry.mapping(("type", *_KEYS[kind]))
        fields = {
            _FIELDS[key][0]: _FIELDS[key][1](inner) for key, inner in given.items() if key != "type"
        }
        fields.setdefault("source", name)
        if "at_least" in given and ("positive" in given or "negative" in given):
            given["at_least"].refuse("stands beside positive or negative; must be alone")
        columns.append(Column(name=name, type=kind, **fields))
    _check_together(value, entries, columns)
    return tuple(columns)


def _check_together(value: Value, entries: Mapping[str, Value], columns: list[Column]) -> None:
    """Note what is wrong with the columns as a whole."""
    kinds = [column.type for column in columns]
    labels = [column.name for column in columns if column.type == "label"]
    if not labels:
        value.refuse("holds no label; must hold at least one column of type label")
    for kind in ("weight", "group"):
        if kinds.count(kind) > 1:
            value.refuse(f"holds {kinds.count(kind)} columns of type {kind}; at most one may be")
    for mistake in task_mistakes(labels) if labels else ():
        value.refuse(f"holds labels that cannot be: {mistake}")
    if not set(kinds) - {"label", "weight", "group"}:
        value.refuse("holds no feature")
    owners = {c.name for c in columns if "hash" in _KEYS[c.type] and not c.shares}
    for column in columns:
        if column.shares and column.shares not in owners:
            entries[column.name].refuse(
                f"shares {column.shares!r}; must be a categorical, multi_hot or sequence column "
                "with a vocabulary of its own"
            )
        if column.shares and (column.hash or column.minimum_count > 1):
            entries[column.name].refuse("shares a vocabulary; must not describe one")
        if column.hash and column.minimum_count > 1:
            entries[column.name].refuse("has both minimum_count and hash; must have one")
        if column.type == "vector" and not column.file:
            entries[column.name].refuse("has no key `file`")
