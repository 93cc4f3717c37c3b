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
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import torch

from codesign.errors import DataError
from wukong.data.batch import Batch
from wukong.data.columns import SPLITS, file_md5
from wukong.metrics import auc, auc_standard_deviation, log_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from wukong.schema import CategoricalFeature, InputSchema

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
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise DataError(
            f"no module {module_name!r} can be imported: {error}",
            where=source,
            hint="install it, or add its folder to PYTHONPATH",
        ) from error
    if not hasattr(module, name):
        raise DataError(f"module {module_name!r} has no {name!r}", where=source)
    function = getattr(module, name)
    if not callable(function):
        raise DataError(f"is {function!r}; must be a function", where=source)
    own = function(path)
    missing = [field for field in _FIELDS if not hasattr(own, field)]
    if missing:
        raise DataError(f"returned {own!r}, which has no {', '.join(missing)}", where=source)
    return OwnData(source, own, _code_md5(function))


def _code_md5(function: object) -> dict[str, str]:
    """Return the md5 of the file that holds a function; nothing for a callable object."""
    try:
        file = inspect.getsourcefile(function)  # type: ignore[arg-type]
    except TypeError:
        return {}
    return {Path(file).name: file_md5(Path(file))} if file else {}


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
        self,
        split: str,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        pass_index: int = 0,
        first_batch: int = 0,
    ) -> Iterator[Batch]:
        """Yield all rows of `split` once, from batch `first_batch` on; the last may be short."""
        batches = self._own.batches(
            split, batch_size, shuffle=shuffle, seed=seed, pass_index=pass_index
        )
        return islice(batches, first_batch, None)

    def _labels(self, split: str) -> NDArray[np.float64]:
        """Return the first observed labels of a split, (N,), and check its first batch."""
        batches = self.batches(split, _LOOK_BATCH, shuffle=False)
        labels = []
        for i, batch in enumerate(islice(batches, LOOKED_AT // _LOOK_BATCH)):
            if not isinstance(batch, Batch):
                raise DataError(f"{split} yields {batch!r}; must be a Batch", where=self.name)
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
        self._check_shapes(split, batch)
        if len(batch) != min(_LOOK_BATCH, self.rows(split)):
            raise DataError(
                f"the first batch of {split} has {len(batch)} examples; asked for {_LOOK_BATCH}, "
                f"rows({split!r}) is {self.rows(split)}",
                where=self.name,
            )
        for i, feature in enumerate(self.schema.one_hot):
            self._check_ids(split, feature, batch.one_hot_BF[:, i])
        ids_of_each = batch.bag_values.split(batch.bag_lengths_FB.sum(dim=1).tolist())
        for feature, ids in zip(self.schema.multi_hot, ids_of_each, strict=True):
            self._check_ids(split, feature, ids)
        if not bool(batch.dense_BD.isfinite().all()):
            raise DataError(
                f"{split} has dense values that are not finite",
                where=self.name,
                hint="put a number, such as 0, for what is missing",
            )

    def _check_shapes(self, split: str, batch: Batch) -> None:
        schema, labels = self.schema, batch.label_BT
        if labels.ndim != 2 or not labels.shape[1]:
            self._refuse(split, "label_BT", labels, "must be (examples, tasks)")
        rows = len(labels)
        expected = {
            "one_hot_BF": (rows, len(schema.one_hot)),
            "bag_lengths_FB": (len(schema.multi_hot), rows),
            "dense_BD": (rows, len(schema.dense)),
        }
        for field, shape in expected.items():
            if tuple(getattr(batch, field).shape) != shape:
                self._refuse(split, field, getattr(batch, field), f"must be {shape}")
        for field in ("one_hot_BF", "bag_values", "bag_lengths_FB"):
            tensor = getattr(batch, field)
            if tensor.dtype not in (torch.int32, torch.int64):
                self._refuse(split, field, tensor, "must be int32 or int64", of_type=True)
        for field in ("dense_BD", "label_BT"):
            if not getattr(batch, field).is_floating_point():
                self._refuse(split, field, getattr(batch, field), "must be floating", of_type=True)
        lengths = batch.bag_lengths_FB
        if bool((lengths < 0).any()) or batch.bag_values.shape != (int(lengths.sum()),):
            needed = f"bag_lengths_FB must be ≥ 0 and add up to it, not to {int(lengths.sum())}"
            self._refuse(split, "bag_values", batch.bag_values, needed)

    def _refuse(
        self, split: str, field: str, tensor: Tensor, must: str, *, of_type: bool = False
    ) -> NoReturn:
        found = f"type {tensor.dtype}" if of_type else f"shape {tuple(tensor.shape)}"
        raise DataError(
            f"the first batch of {split} has {field} of {found}; {must}",
            where=self.name,
        )

    def _check_ids(self, split: str, feature: CategoricalFeature, ids: Tensor) -> None:
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < feature.cardinality:
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
