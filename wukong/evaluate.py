"""Predicts a split and measures how good the predictions are. N examples of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from wukong import metrics

if TYPE_CHECKING:
    import numpy as np

    from wukong.data.dataset import DataSet


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Quality on one split.

    Attributes:
        auc_sd, log_loss_sd: the split's sampling noise, not the spread between training seeds.
        log_loss: nats.
        normalized_entropy: log loss over the entropy of the *training* split's base rate.
    """

    auc: float
    auc_sd: float
    log_loss: float
    log_loss_sd: float
    normalized_entropy: float


def predict(
    model: nn.Module, data: DataSet, split: str, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels and the logits (N,), float32, of a split, in its order.

    They are the first task's; rows where it was not observed are left out. Weights do not count.
    """
    was_training = model.training
    model.eval()
    labels, logits = [], []
    # Not inference_mode: FBGEMM's lookups on the CPU exist with autograd's dispatch only.
    with torch.no_grad():
        for batch in data.batches(split, batch_size, shuffle=False):
            labels.append(batch.label_B)
            logits.append(model(batch).view(len(batch), -1)[:, 0])
    model.train(was_training)
    label, logit = torch.cat(labels), torch.cat(logits)
    observed = ~label.isnan()
    return label[observed].numpy(), logit[observed].numpy()


def evaluate(label_N: np.ndarray, logit_N: np.ndarray, base_rate: float) -> Evaluation:
    """Measure the quality of finite logits (N,); `base_rate` is that of the training split."""
    log_loss = metrics.log_loss(label_N, logit_N)
    return Evaluation(
        auc=metrics.auc(label_N, logit_N),
        auc_sd=metrics.auc_standard_deviation(label_N, logit_N),
        log_loss=log_loss,
        log_loss_sd=metrics.log_loss_standard_deviation(label_N, logit_N),
        normalized_entropy=metrics.normalized_entropy(log_loss, base_rate),
    )
