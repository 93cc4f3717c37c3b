"""Batches from code of the user's own: a function `package.module:function`, named in the spec.

The function takes the path that the spec gives (or None) and returns an object with what
`OwnBatches` lists. Nothing is prepared or cached; everything else (training, search, costs, the
report) is as with prepared data. B examples of a batch, N of a split, T tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import numpy as np
import torch

from codesign.errors import DataError
from wukong.data.baselines import baseline_figures
from wukong.data.batch import Batch
from wukong.data.columns import SPLITS, LabelTask, file_md5
from wukong.data.share import Share, whole
from wukong.metrics import over_tasks
from wukong.own.code import load_function, source_file
from wukong.schema import InputSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from wukong.schema import CategoricalFeature

# Examples of a split that its base rate is taken from.
LOOKED_AT = 1_000_000
_LOOK_BATCH = 8192
_FIELDS = ("schema", "rows", "batches")


class OwnBatches(Protocol):
    """What the user's function returns.

    Attributes:
        schema: the features of the batches, and the tasks of their labels.
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
    function = load_function(source, error=DataError)
    own = function(path)
    missing = [field for field in _FIELDS if not hasattr(own, field)]
    if missing:
        raise DataError(f"returned {own!r}, which has no {', '.join(missing)}", where=source)
    if not isinstance(own.schema, InputSchema):
        what = f"returned an object whose schema is {own.schema!r}; must be an InputSchema"
        raise DataError(what, where=source)
    file = source_file(function)
    return OwnData(source, own, {file.name: file_md5(file)} if file else {})


class _Labels(NamedTuple):
    """The labels of one task that were observed, and the weights of their examples."""

    label_N: NDArray[np.float64]
    weight_N: NDArray[np.float64] | None


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
        self.has_groups = False
        labels = {split: self._labels(split) for split in SPLITS}
        self.tasks = tuple(
            LabelTask(name=name, base_rate=float(np.average(train.label_N, weights=train.weight_N)))
            for name, train in zip(self.schema.tasks, labels["train"], strict=True)
        )
        self.facts: dict[str, Any] = {"baseline": _baseline(labels, self.tasks)}

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
        share: Share = whole,
    ) -> Iterator[Batch]:
        """Yield all rows of `split` once, from batch `first_batch` on; the last may be short.

        Raises:
            DataError: the user's code yields something else.
        """
        batches = self._own.batches(
            split, batch_size, shuffle=shuffle, seed=seed, pass_index=pass_index
        )
        for batch in islice(batches, first_batch, None):
            if not isinstance(batch, Batch):
                raise DataError(f"{split} yields {batch!r}; must be a Batch", where=self.name)
            yield batch.part(*share(len(batch)))

    def _labels(self, split: str) -> list[_Labels]:
        """Return the first labels of a split, task by task, and check its first batch."""
        batches = self.batches(split, _LOOK_BATCH, shuffle=False)
        labels, weights = [], []
        for i, batch in enumerate(islice(batches, LOOKED_AT // _LOOK_BATCH)):
            if i == 0:
                self._check(split, batch)
                self.has_groups = batch.group_B is not None
            labels.append(batch.label_BT.numpy().astype(np.float64))
            if batch.weight_B is not None:
                weights.append(batch.weight_B.numpy().astype(np.float64))
        label_NT = np.concatenate([np.empty((0, len(self.schema.tasks))), *labels])
        wrong = label_NT[(label_NT != 0) & (label_NT != 1) & ~np.isnan(label_NT)]
        if len(wrong):
            raise DataError(
                f"{split} has a label {wrong[0]:g}; must be 0, 1 or NaN", where=self.name
            )
        weight_N = np.concatenate(weights) if weights else None
        return [self._observed(split, t, label_NT[:, t], weight_N) for t in range(len(label_NT.T))]

    def _observed(
        self,
        split: str,
        task: int,
        label_N: NDArray[np.float64],
        weight_N: NDArray[np.float64] | None,
    ) -> _Labels:
        """Leave out what was not observed; refuse labels that no model can be judged by."""
        observed_N = ~np.isnan(label_N)
        found = label_N[observed_N if weight_N is None else observed_N & (weight_N > 0)]
        if min(found.sum(), (1 - found).sum()) < 2:
            tasks = self.schema.tasks
            of = f" of the task {tasks[task]}" if len(tasks) > 1 else ""
            raise DataError(
                f"{found.sum():.0f} of the {len(found)} labels{of} of {split} are 1",
                where=self.name,
                hint="every split needs at least two rows of each label",
            )
        return _Labels(label_N[observed_N], None if weight_N is None else weight_N[observed_N])

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
        if labels.ndim != 2 or labels.shape[1] != len(schema.tasks):
            tasks = f"with the schema's tasks {', '.join(schema.tasks)}"
            self._refuse(split, "label_BT", labels, f"must be (examples, tasks), {tasks}")
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


def _baseline(
    labels: Mapping[str, Sequence[_Labels]], tasks: Sequence[LabelTask]
) -> dict[str, Any]:
    by_task: dict[str, dict[str, float]] = {task.name: {} for task in tasks}
    for t, task in enumerate(tasks):
        logit = float(np.log(task.base_rate) - np.log1p(-task.base_rate))
        for split in ("validation", "test"):
            label_N, weight_N = labels[split][t]
            found = baseline_figures(label_N, np.full(len(label_N), logit), weight_N)
            by_task[task.name] |= {f"{split}_{name}": value for name, value in found.items()}
    return {"name": "base rate", **over_tasks(by_task)}
