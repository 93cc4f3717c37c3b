"""What one feature alone predicts: the bar that a model has to clear.

N examples of a split, F features, V values of a feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import DataError
from wukong.data.columns import UNOBSERVED
from wukong.metrics import auc, auc_standard_deviation, log_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wukong.data.columns import SplitColumns
    from wukong.schema import InputSchema

# Counts as that many examples at the base rate, for every value.
SMOOTHING_EXAMPLES = 10.0
# Features with more values are no candidates unless asked for: their counts would fill memory.
CANDIDATE_VALUES = 1 << 20
# Validation examples that choose the feature, and examples of a split that figures come from.
CHOOSING_EXAMPLES = 500_000
FIGURE_EXAMPLES = 4_000_000
_ALL = 1 << 62


def refuse_one_sided(name: str, columns: Mapping[str, SplitColumns]) -> None:
    """Check that a model can be trained and judged on every split, by the first task.

    Raises:
        DataError: where a split holds fewer than two examples of either label.
    """
    for split, part in columns.items():
        positives, negatives = (int((part.label == value).sum()) for value in (1, 0))
        if min(positives, negatives) < 2:
            raise DataError(
                f"{name}: {positives} of the {positives + negatives} labels of {split} are 1",
                hint="every split needs at least two rows of each label",
            )


def mean_baseline(
    schema: InputSchema, columns: Mapping[str, SplitColumns], feature: str | None = None
) -> dict[str, Any]:
    """Score every example by the smoothed positive rate, in train, of one feature's value.

    The label is that of the first task; examples without it are left out. Where a data set is
    large, the first examples of validation and test stand for all (see the constants above).

    Args:
        feature: a one-hot feature; None: the one with the best AUC on validation. Without any
            one-hot feature, every example scores the base rate.

    Returns:
        `name`, and for `validation_` and `test_` each: `auc`, `auc_sd` (its sampling noise on a
        set of that size) and `log_loss` in nats.

    Raises:
        DataError: where validation or test hold fewer than two examples of either label.
    """
    sizes = {f.name: f.cardinality for f in schema.one_hot}
    order = list(sizes)
    names = [feature] if feature else [n for n in order if sizes[n] <= CANDIDATE_VALUES]
    places = [order.index(name) for name in names]
    logits, base_logit = _logits(columns["train"], places, [sizes[name] for name in names])
    if len(names) > 1:
        label_N, ids_NF = _examples(columns["validation"], places, CHOOSING_EXAMPLES)
        scores = [auc(label_N, logits[i][ids_NF[:, i]]) for i in range(len(names))]
        best = int(np.argmax(scores))
        names, places, logits = [names[best]], [places[best]], [logits[best]]
    facts: dict[str, Any] = {"name": f"{names[0]} mean" if names else "base rate"}
    for split in ("validation", "test"):
        label_N, ids_NF = _examples(columns[split], places, FIGURE_EXAMPLES)
        logit_N = logits[0][ids_NF[:, 0]] if names else np.full(len(label_N), base_logit)
        facts[f"{split}_auc"] = auc(label_N, logit_N)
        facts[f"{split}_auc_sd"] = auc_standard_deviation(label_N, logit_N)
        facts[f"{split}_log_loss"] = log_loss(label_N, logit_N)
    return facts


def _examples(
    part: SplitColumns, places: Sequence[int], most: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return labels (N,) and ids (N, F) of the first examples that have a label."""
    labels, ids = [], []
    for ids_NF, label_N in part.blocks(most):
        known_N = label_N != UNOBSERVED
        labels.append(label_N[known_N].astype(np.float64))
        ids.append(ids_NF[known_N][:, places])
    return np.concatenate(labels), np.concatenate(ids)


def _logits(
    train: SplitColumns, places: Sequence[int], sizes: Sequence[int]
) -> tuple[list[NDArray[np.float64]], float]:
    """Logit of each value's smoothed rate, (V,) by feature, and that of the base rate.

    A value unseen in train gets the base rate.
    """
    counts = [np.zeros(size) for size in sizes]
    positives = [np.zeros(size) for size in sizes]
    examples = positive_examples = 0
    for ids_NF, label_N in train.blocks(_ALL):
        known_N, positive_N = label_N != UNOBSERVED, label_N == 1
        examples += int(known_N.sum())
        positive_examples += int(positive_N.sum())
        for i, (place, size) in enumerate(zip(places, sizes, strict=True)):
            counts[i] += np.bincount(ids_NF[known_N, place], minlength=size)
            positives[i] += np.bincount(ids_NF[positive_N, place], minlength=size)
    base_rate = positive_examples / examples
    rates = [
        (positive_V + SMOOTHING_EXAMPLES * base_rate) / (count_V + SMOOTHING_EXAMPLES)
        for positive_V, count_V in zip(positives, counts, strict=True)
    ]
    logits = [np.asarray(np.log(rate_V) - np.log1p(-rate_V)) for rate_V in rates]
    return logits, float(np.log(base_rate) - np.log1p(-base_rate))
