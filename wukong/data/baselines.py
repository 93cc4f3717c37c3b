"""What one feature alone predicts: the bar that a model has to clear.

N examples of a split, V values of a feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wukong.metrics import auc, auc_standard_deviation, log_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wukong.data.prepared import SplitColumns
    from wukong.schema import InputSchema

# Counts as that many examples at the base rate, for every value.
SMOOTHING_EXAMPLES = 10.0


def mean_baseline(
    schema: InputSchema, columns: Mapping[str, SplitColumns], feature: str | None = None
) -> dict[str, Any]:
    """Score every example by the smoothed positive rate, in train, of one feature's value.

    Args:
        feature: a one-hot feature; None: the one with the best AUC on validation.

    Returns:
        `name`, and for `validation_` and `test_` each: `auc`, `auc_sd` (its sampling noise on a
        set of that size) and `log_loss` in nats.

    Raises:
        DataError: where validation or test hold fewer than two examples of either label.
    """
    names = [f.name for f in schema.one_hot]
    label = {split: part.label.astype(np.float64) for split, part in columns.items()}

    def score(split: str, name: str) -> NDArray[np.float64]:
        ids_N = columns[split].one_hot[:, names.index(name)]
        return _logits(schema, columns["train"], name)[ids_N]

    best = feature or max(
        names, key=lambda name: auc(label["validation"], score("validation", name))
    )
    facts: dict[str, Any] = {"name": f"{best} mean"}
    for split in ("validation", "test"):
        logit_N = score(split, best)
        facts[f"{split}_auc"] = auc(label[split], logit_N)
        facts[f"{split}_auc_sd"] = auc_standard_deviation(label[split], logit_N)
        facts[f"{split}_log_loss"] = log_loss(label[split], logit_N)
    return facts


def _logits(schema: InputSchema, train: SplitColumns, name: str) -> NDArray[np.float64]:
    """Logit of each value's smoothed rate, (V,); a value unseen in train gets the base rate."""
    names = [f.name for f in schema.one_hot]
    index = names.index(name)
    cardinality = schema.one_hot[index].cardinality
    ids_N = train.one_hot[:, index]
    count_V = np.bincount(ids_N, minlength=cardinality)
    positive_V = np.bincount(ids_N, weights=train.label, minlength=cardinality)
    base_rate = train.label.mean()
    rate_V = (positive_V + SMOOTHING_EXAMPLES * base_rate) / (count_V + SMOOTHING_EXAMPLES)
    return np.asarray(np.log(rate_V) - np.log1p(-rate_V))
