"""What one feature alone predicts: the bar that a model has to clear.

N examples of a split, F features, V values of a feature, T tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import DataError
from wukong.data.columns import UNOBSERVED
from wukong.metrics import auc, auc_standard_deviation, log_loss, over_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wukong.data.columns import SplitColumns
    from wukong.schema import InputSchema

# Counts as that many examples at the base rate, for every value.
SMOOTHING_EXAMPLES = 10.0
# Features with more values are no candidates unless asked for: their counts would fill memory.
CANDIDATE_VALUES = 1 << 20
# Labels of validation that choose the feature, and of a split that figures come from.
CHOOSING_EXAMPLES = 500_000
FIGURE_EXAMPLES = 4_000_000
_ALL = 1 << 62


def refuse_one_sided(
    name: str, columns: Mapping[str, SplitColumns], tasks: Sequence[str] = ()
) -> None:
    """Check that a model can be trained and judged on every split, in every task.

    Args:
        name: of the data set.
        tasks: their names; may be left out where there is one.

    Raises:
        DataError: naming each split and task with fewer than two examples of either label, those
            of weight 0 left out.
    """
    mistakes = []
    for split, part in columns.items():
        for t in range(part.labels.shape[1]):
            label_N = part.labels[:, t] if part.weight is None else part.labels[part.weight > 0, t]
            positives, negatives = (int((label_N == value).sum()) for value in (1, 0))
            if min(positives, negatives) < 2:
                of = f" of the task {tasks[t]}" if len(tasks) > 1 else ""
                found = f"{positives} of the {positives + negatives} labels{of} of {split} are 1"
                mistakes.append(f"{name}: {found}")
    if mistakes:
        raise DataError(
            "\n".join(mistakes), hint="every split needs at least two rows of each label"
        )


def mean_baseline(
    schema: InputSchema, columns: Mapping[str, SplitColumns], feature: str | None = None
) -> dict[str, Any]:
    """Score every example by the smoothed positive rate, in train, of one feature's value.

    Examples without a label of the task are left out; each counts as much as it weighs. Where a
    data set is large, the first labels of validation and test stand for all (see the constants
    above).

    Args:
        feature: a one-hot feature; None: the one with the best AUC on validation, the mean over
            the tasks. Without any one-hot feature, every example scores the base rate.

    Returns:
        `name`, and for `validation_` and `test_` each: `auc`, `auc_sd` (its sampling noise on a
        set of that size) and `log_loss` in nats, named by `wukong.metrics.over_tasks`.

    Raises:
        DataError: where validation or test hold fewer than two examples of either label.
    """
    sizes = {f.name: f.cardinality for f in schema.one_hot}
    order = list(sizes)
    names = [feature] if feature else [n for n in order if sizes[n] <= CANDIDATE_VALUES]
    places = [order.index(name) for name in names]
    scores = [
        _RateScores(columns["train"], t, places, [sizes[name] for name in names])
        for t in range(len(schema.tasks))
    ]
    best = 0
    if len(names) > 1:
        best = int(np.argmax(sum(score.aucs(columns["validation"]) for score in scores)))
    by_task: dict[str, dict[str, float]] = {task: {} for task in schema.tasks}
    for task, score in zip(schema.tasks, scores, strict=True):
        for split in ("validation", "test"):
            found = score.figures(columns[split], best)
            by_task[task] |= {f"{split}_{name}": value for name, value in found.items()}
    return {"name": f"{names[best]} mean" if names else "base rate", **over_tasks(by_task)}


class _RateScores:
    """Scores of one task's examples by the smoothed positive rates of features' values.

    Args:
        train: where the rates come from. A value unseen there gets the base rate.
        task: its column among the labels.
        places: of the features among the one-hot ones.
        sizes: values of each.
    """

    def __init__(
        self, train: SplitColumns, task: int, places: Sequence[int], sizes: Sequence[int]
    ) -> None:
        self._task, self._places = task, places
        counts = [np.zeros(size) for size in sizes]
        positives = [np.zeros(size) for size in sizes]
        examples = positive_examples = 0.0
        for ids_NF, label_N, weight_N in _observed(train, task, _ALL):
            share_N = np.ones(len(label_N)) if weight_N is None else weight_N.astype(np.float64)
            positive_N = share_N * label_N
            examples += float(share_N.sum())
            positive_examples += float(positive_N.sum())
            for i, (place, size) in enumerate(zip(places, sizes, strict=True)):
                counts[i] += np.bincount(ids_NF[:, place], share_N, minlength=size)
                positives[i] += np.bincount(ids_NF[:, place], positive_N, minlength=size)
        base_rate = positive_examples / examples
        self._base_logit = float(_logit(np.float64(base_rate)))
        self._logits = [
            _logit((positive_V + SMOOTHING_EXAMPLES * base_rate) / (count_V + SMOOTHING_EXAMPLES))
            for positive_V, count_V in zip(positives, counts, strict=True)
        ]

    def aucs(self, part: SplitColumns) -> NDArray[np.float64]:
        """Return the AUC of each feature on a split, (F,)."""
        label_N, ids_NF, weight_N = self._examples(part, CHOOSING_EXAMPLES)
        scores = [logit_V[ids_NF[:, i]] for i, logit_V in enumerate(self._logits)]
        return np.array([auc(label_N, logit_N, weight_N) for logit_N in scores])

    def figures(self, part: SplitColumns, feature: int) -> dict[str, float]:
        """Judge a feature on a split; without features, the base rate."""
        label_N, ids_NF, weight_N = self._examples(part, FIGURE_EXAMPLES)
        logit_N = np.full(len(label_N), self._base_logit)
        if self._logits:
            logit_N = self._logits[feature][ids_NF[:, feature]]
        return baseline_figures(label_N, logit_N, weight_N)

    def _examples(
        self, part: SplitColumns, most: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float32] | None]:
        """Return labels (N,), ids (N, F) and weights of the first examples that have a label."""
        labels, ids, weights = [], [], []
        for ids_NF, label_N, weight_N in _observed(part, self._task, most):
            labels.append(label_N)
            ids.append(ids_NF[:, self._places])
            weights.append(weight_N)
        known = [weight_N for weight_N in weights if weight_N is not None]
        weight = np.concatenate(known) if known else None
        return np.concatenate(labels), np.concatenate(ids), weight


def baseline_figures(
    label_N: NDArray[np.float64],
    logit_N: NDArray[np.float64],
    weight_N: NDArray[Any] | None = None,
) -> dict[str, float]:
    """Return what a trivial predictor's logits reach on one split, by name."""
    return {
        "auc": auc(label_N, logit_N, weight_N),
        "auc_sd": auc_standard_deviation(label_N, logit_N, weight_N),
        "log_loss": log_loss(label_N, logit_N, weight_N),
    }


def _observed(
    part: SplitColumns, task: int, most: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float32] | None]]:
    """Yield ids, labels and weights of the first `most` examples with a label of the task."""
    left = most
    for ids_NF, label_NT, weight_N in part.blocks(_ALL):
        rows = np.flatnonzero(label_NT[:, task] != UNOBSERVED)[:left]
        left -= len(rows)
        label_N = label_NT[rows, task].astype(np.float64)
        yield ids_NF[rows], label_N, None if weight_N is None else weight_N[rows]
        if not left:
            return


def _logit(rate: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(np.log(rate) - np.log1p(-rate))
