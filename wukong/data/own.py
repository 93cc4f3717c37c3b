"""Batches from code of the user's own: a function `package.module:function`, named in the spec.

The function takes the path that the spec gives (or None) and returns an object with what
`OwnBatches` lists. Nothing is prepared or cached; everything else (training, search, costs, the
report) is as with prepared data. B examples of a batch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from codesign.errors import DataError
from wukong.data.columns import SPLITS, file_md5
from wukong.metrics import auc, auc_standard_deviation, log_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wukong.data.batch import Batch
    from wukong.schema import InputSchema

# Examples of a split that its base rate is taken from.
LOOKED_AT = 1_000_000
_LOOK_BATCH = 8192
_FIELDS = ("schema", "rows", "batches")


class OwnBatches(Protocol):
    """What the user's function returns.

    Attributes:
        schema: the features of the batches.
    """

    schema: InputSchema

    def rows(self, split: str) -> int:
        """Count the examples of `train`, `validation` or `test`."""

    def batches(
        self, split: str, batch_size: int, *, shuffle: bool, seed: int, pass_index: int
    ) -> Iterator[Batch]:
        """Yield every example of a split once; only the last batch may be smaller."""


def load_own(source: str, path: Path | None) -> OwnData:
    """Call the user's function and look at what it yields.

    Raises:
        DataError: it cannot be imported, or what it returns is not as it must be.
    """
    module_name, _, name = source.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise DataError("is no function; must be package.module:function", where=source)
    try:
        function = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise DataError(
            f"no module {module_name!r} can be imported: {error}",
            where=source,
            hint="install it, or add its folder to PYTHONPATH",
        ) from error
    except AttributeError as error:
        raise DataError(f"module {module_name!r} has no {name!r}", where=source) from error
    own = function(path)
    missing = [field for field in _FIELDS if not hasattr(own, field)]
    if missing:
        raise DataError(f"returned {own!r}, which has no {', '.join(missing)}", where=source)
    file = inspect.getsourcefile(function)
    return OwnData(source, own, {Path(file).name: file_md5(Path(file))} if file else {})


class OwnData:
    """A user's batches as a data set (see `wukong.data.prepared.PreparedData`).

    Args:
        name: of the function.
        own: what it returned.
        source_md5: what identifies the data, as far as that is known: the code that yields them.

    Raises:
        DataError: a split's first batches contradict the schema, or its labels are one-sided.
    """

    split_rule = "as the user's code yields them"

    def __init__(self, name: str, own: OwnBatches, source_md5: Mapping[str, str]) -> None:
        self.name, self.schema, self.source_md5 = name, own.schema, source_md5
        self._own = own
        labels = {split: self._labels(split) for split in SPLITS}
        self.base_rate = float(labels["train"].mean())
        self.facts: dict[str, Any] = {"baseline": _baseline(labels, self.base_rate)}

    def rows(self, split: str) -> int:
        """Count the rows of `split`."""
        return self._own.rows(split)

    def batches(
        self, split: str, batch_size: int, *, shuffle: bool, seed: int = 0, pass_index: int = 0
    ) -> Iterator[Batch]:
        """Yield all rows of `split` once; the last batch may be short."""
        return self._own.batches(
            split, batch_size, shuffle=shuffle, seed=seed, pass_index=pass_index
        )

    def _labels(self, split: str) -> NDArray[np.float64]:
        """Return the first observed labels of a split, (N,), and check its first batch."""
        batches = self.batches(split, _LOOK_BATCH, shuffle=False)
        labels = []
        for i, batch in enumerate(islice(batches, LOOKED_AT // _LOOK_BATCH)):
            if i == 0:
                self._check(split, batch)
            label_B = batch.label_B.numpy().astype(np.float64)
            labels.append(label_B[~np.isnan(label_B)])
        found = np.concatenate([np.empty(0), *labels])
        wrong = found[(found != 0) & (found != 1)]
        if len(wrong):
            raise DataError(
                f"{split} has a label {wrong[0]:g}; must be 0, 1 or NaN", where=self.name
            )
        if min(found.sum(), (1 - found).sum()) < 2:
            raise DataError(
                f"{found.sum():.0f} of the {len(found)} labels of {split} are 1",
                where=self.name,
                hint="every split needs at least two rows of each label",
            )
        return found

    def _check(self, split: str, batch: Batch) -> None:
        schema, rows = self.schema, len(batch)
        expected = {
            "one_hot_BF": (rows, len(schema.one_hot)),
            "bag_lengths_FB": (len(schema.multi_hot), rows),
            "dense_BD": (rows, len(schema.dense)),
        }
        for field, shape in expected.items():
            found = tuple(getattr(batch, field).shape)
            if found != shape:
                raise DataError(
                    f"the first batch of {split} has {field} of shape {found}; must be {shape}",
                    where=self.name,
                )
        if rows != min(_LOOK_BATCH, self.rows(split)):
            raise DataError(
                f"the first batch of {split} has {rows} examples; asked for {_LOOK_BATCH}, "
                f"rows({split!r}) is {self.rows(split)}",
                where=self.name,
            )
        for i, feature in enumerate(schema.one_hot):
            ids = batch.one_hot_BF[:, i]
            if rows and not 0 <= int(ids.min()) <= int(ids.max()) < feature.cardinality:
                raise DataError(
                    f"{split} has ids of {feature.name} from {int(ids.min())} to "
                    f"{int(ids.max())}; must be from 0 to {feature.cardinality - 1}",
                    where=self.name,
                )


def _baseline(labels: Mapping[str, NDArray[np.float64]], base_rate: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": "base rate"}
    logit = float(np.log(base_rate) - np.log1p(-base_rate))
    for split in ("validation", "test"):
        label_N = labels[split]
        logit_N = np.full(len(label_N), logit)
        facts[f"{split}_auc"] = auc(label_N, logit_N)
        facts[f"{split}_auc_sd"] = auc_standard_deviation(label_N, logit_N)
        facts[f"{split}_log_loss"] = log_loss(label_N, logit_N)
    return facts
