"""Features without examples: what a model would see, so that its costs are known before its data.

The file lists tables by a name of their own, dense features, tasks and how many examples there
would be to train on:

    tables:
      item: {rows: 10000000}                              # one feature, `item`
      id: {features: 719, rows: 5450000}                  # `id0` to `id718`
      seen: {rows: 1000000, multi_hot: true, pooling: mean}
    dense: 13                                             # default: none
    tasks: [click]                                        # default: one, `label`
    examples: 4000000000                                  # of train; default: unknown
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from codesign.errors import DataError
from wukong.data.prepare.marked_yaml import Value, read_marked
from wukong.schema import CategoricalFeature, InputSchema

MOST_FEATURES = 100_000
_TABLE = ("features", "rows", "multi_hot", "pooling")


class SchemaOnly:
    """A data set of which nothing but the schema is known (see `wukong.data.dataset.DataSet`).

    Raises:
        DataError: `batches`, `tasks` or `facts` are asked for, or rows that are unknown.
    """

    name = "schema"
    has_groups = False
    split_rule = "no examples"

    def __init__(self, path: Path) -> None:
        self.schema, self._train_examples = read_schema(path)
        self.source_md5: dict[str, str] = {}
        self._path = path

    @property
    def tasks(self) -> NoReturn:
        """Refuse: base rates are unknown."""
        self._refuse()

    @property
    def facts(self) -> NoReturn:
        """Refuse: there are none."""
        self._refuse()

    def rows(self, split: str) -> int:
        """Return how many `train` would have; refuse the other splits."""
        if split != "train" or self._train_examples is None:
            self._refuse()
        return self._train_examples

    def batches(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: there are none."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError(
            "says what features there are and holds no examples, so nothing can be trained",
            where=str(self._path),
            hint="`codesign cost`, `plan` and `validate` need no more; else give data.source",
        )


def read_schema(path: Path) -> tuple[InputSchema, int | None]:
    """Read the file.

    Returns:
        The features, and the examples of train; None: unknown.

    Raises:
        DataError: where it cannot be read, or with all mistakes, one a line as `file:line: key …`.
        ConfigError: there is no feature, or a name stands for two.
    """
    root = read_marked(path)
    top = root.mapping(("tables", "dense", "tasks", "examples"))
    tables = top["tables"].mapping() if "tables" in top else {}
    features = [one for name, entry in tables.items() for one in _features(name, entry)]
    dense = top["dense"].whole(0, MOST_FEATURES) if "dense" in top else 0
    tasks = top["tasks"].texts() if "tasks" in top else ("label",)
    examples = top["examples"].whole(1, 2**62) if "examples" in top else None
    if root.mistakes:
        raise DataError("\n".join(root.mistakes), hint=(__doc__ or "").partition("\n\n")[2])
    dense_names = tuple(f"dense{i}" for i in range(dense))
    return InputSchema(categorical=tuple(features), dense=dense_names, tasks=tasks), examples


def _features(name: str, entry: Value) -> list[CategoricalFeature]:
    keys = entry.mapping(_TABLE)
    if "rows" not in keys:
        entry.refuse("has no rows; must be a mapping with rows, such as {rows: 1000000}")
        return []
    rows = keys["rows"].whole(1, 2**62)
    multi_hot = "multi_hot" in keys and keys["multi_hot"].choice("true", "false") == "true"
    pooling: Any = keys["pooling"].choice("sum", "mean") if "pooling" in keys else "sum"
    names = [name]
    if "features" in keys:
        names = [f"{name}{i}" for i in range(keys["features"].whole(1, MOST_FEATURES))]
    return [
        CategoricalFeature(name=one, cardinality=rows, multi_hot=multi_hot, pooling=pooling)
        for one in names
    ]
