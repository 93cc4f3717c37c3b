"""The training loss: the mean log loss over the observed labels of a batch.

Each label is as heavy as its example and its task. Of a batch that several ranks hold together,
each computes its share of the mean. B examples on this rank, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from wukong.data.batch import Batch
    from wukong.parallel.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class BatchTotals:
    """What all ranks hold of one batch; scalars float64, on the ranks' device.

    Attributes:
        weight: of the observed labels.
        labels: observed or not.
        examples: with labels or without.
    """

    weight: Tensor
    labels: Tensor
    examples: Tensor


def label_weights(batch: Batch, task_weight_T: Tensor | None = None) -> Tensor:
    """Return how much each label counts, float32 (B, T); 0 where it was not observed.

    Args:
        batch: its labels are NaN where they were not observed.
        task_weight_T: float32 (T,), ≥ 0; None: all alike.
    """
    weight_BT = (~batch.label_BT.isnan()).float()
    if batch.weight_B is not None:
        weight_BT = weight_BT * batch.weight_B[:, None]
    return weight_BT if task_weight_T is None else weight_BT * task_weight_T


def batch_totals(weight_BT: Tensor, ranks: Ranks) -> BatchTotals:
    """Sum up over all ranks, each of which must call it; without waiting for a GPU."""
    own = torch.empty(3, dtype=torch.float64, device=weight_BT.device)
    own[0], own[1], own[2] = weight_BT.sum(), weight_BT.numel(), len(weight_BT)
    weight, labels, examples = ranks.sum(own)
    return BatchTotals(weight=weight, labels=labels, examples=examples)


def loss_share(logit_BT: Tensor, label_BT: Tensor, weight_BT: Tensor, total: BatchTotals) -> Tensor:
    """Return this rank's part of the weighted mean log loss in nats; a scalar, float32.

    The sum over ranks is the mean; 0 where nothing was observed.

    Raises:
        ConfigError: where the logits are not one for each example and task.
    """
    if logit_BT.shape != label_BT.shape:
        raise ConfigError(
            f"the model's logits are {tuple(logit_BT.shape)}, the labels {tuple(label_BT.shape)}; "
            "both must be (examples, tasks)",
            hint="train on data with as many labels as the model predicts",
        )
    if not len(logit_BT):
        return logit_BT.sum()
    weighted_mean = F.binary_cross_entropy_with_logits(
        logit_BT, label_BT.nan_to_num(0.0), weight=weight_BT
    )
    # By means, not by sums: so one rank and weights of 1 change no bit of the loss's gradient.
    share = (weight_BT.numel() / total.labels).to(logit_BT.dtype)
    mean_weight = (total.weight / total.labels).to(logit_BT.dtype)
    return weighted_mean * share / mean_weight.clamp_min(1e-30)
