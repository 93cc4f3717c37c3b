"""Predicts a split and measures how good the predictions are. N examples of a split, T tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from codesign.errors import DataError
from wukong import metrics
from wukong.parallel.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from wukong.data.columns import LabelTask
    from wukong.data.dataset import DataSet


LOSS_EXAMPLES = 100_000
"""Examples whose losses are kept: 400 kB a trial."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model says of a split, in its order.

    Attributes:
        label_NT: float32 (N, T), 0 or 1, NaN where the label was not observed.
        logit_NT: float32 (N, T).
        weight_N: float32 (N,), how much each example counts; None: all alike.
        group_N: int64 (N,), the group of each example; None: there are no groups.
    """

    split: str
    label_NT: np.ndarray
    logit_NT: np.ndarray
    weight_N: np.ndarray | None = None
    group_N: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Quality of one task's predictions on one split; examples count as much as they weigh.

    Attributes:
        auc_sd, log_loss_sd: the split's sampling noise, not the spread between training seeds.
        log_loss: nats.
        normalized_entropy: log loss over the entropy of the *training* split's base rate.
        calibration: mean predicted probability over the observed rate; 1 is ideal.
        calibration_error: |ln calibration|: predicting twice the rate is as wrong as half of it.
        grouped_auc: mean AUC within the groups; None where the data have no groups, or none with
            both labels.
    """

    auc: float
    auc_sd: float
    log_loss: float
    log_loss_sd: float
    normalized_entropy: float
    calibration: float
    calibration_error: float
    grouped_auc: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Quality on one split, task by task, in the order of the schema."""

    by_task: Mapping[str, Quality]

    @cached_property
    def figures(self) -> dict[str, float]:
        """Name → value as `wukong.metrics.over_tasks` names them: `auc`, and `auc.ctr`, …."""
        given = {
            task: {name: value for name, value in vars(quality).items() if value is not None}
            for task, quality in self.by_task.items()
        }
        return metrics.over_tasks(given)

    def __getitem__(self, name: str) -> float:
        """Return one of the figures.

        Raises:
            DataError: the split cannot have it.
        """
        if name not in self.figures:
            raise DataError(
                f"no {name} can be had on this split; there are {', '.join(self.figures)}",
                hint="a grouped AUC needs, in every task, a group with both labels",
            )
        return self.figures[name]


def predict(
    model: nn.Module, data: DataSet, split: str, batch_size: int, ranks: Ranks = ALONE
) -> Predictions:
    """Return what the model says of all rows of a split, on rank 0; of no row elsewhere.

    Args:
        batch_size: examples of each rank in a forward pass.
        ranks: that share the rows; all must call it.
    """
    was_training = model.training
    model.eval()
    labels, logits, weights, groups = [], [], [], []
    batches = data.batches(split, batch_size * ranks.world, shuffle=False, share=ranks.share)
    # Not inference_mode: FBGEMM's lookups on the CPU exist with autograd's dispatch only.
    with torch.no_grad():
        for batch in batches:
            labels.append(batch.label_BT)
            logits.append(model(batch).reshape(batch.label_BT.shape).cpu())
            weights.append(batch.weight_B)
            groups.append(batch.group_B)
    model.train(was_training)
    return Predictions(
        split=split,
        label_NT=_joined(labels, ranks),
        logit_NT=_joined(logits, ranks),
        weight_N=_joined_if_any(weights, ranks),
        group_N=_joined_if_any(groups, ranks),
    )


def evaluate(predictions: Predictions, tasks: Sequence[LabelTask]) -> Evaluation:
    """Measure the quality of finite logits, each task on the rows where it was observed.

    Args:
        tasks: one for each column of the predictions; their base rates are the training split's.

    Raises:
        DataError: naming split and task, where the observed labels are all equal, or none are.
    """
    return Evaluation(
        by_task={task.name: _quality(predictions, t, task) for t, task in enumerate(tasks)}
    )


def example_losses(predictions: Predictions, most: int = LOSS_EXAMPLES) -> np.ndarray:
    """Return what each example adds to the log loss, float32, at most `most` of them.

    Their mean is the log loss, that of several tasks the mean over the tasks; weights and labels
    that were not observed are accounted for. Of more examples, evenly spread ones are taken, the
    same for every model.
    """
    rows = len(predictions.label_NT)
    chosen = np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)
    label_NT, logit_NT = predictions.label_NT[chosen], predictions.logit_NT[chosen]
    weight_NT = (~np.isnan(label_NT)).astype(np.float64)
    if predictions.weight_N is not None:
        weight_NT *= predictions.weight_N[chosen, None]
    share_NT = weight_NT / weight_NT.mean(axis=0)
    loss_NT = metrics.losses(np.nan_to_num(label_NT), logit_NT)
    return (share_NT * loss_NT).mean(axis=1).astype(np.float32)


def _quality(predictions: Predictions, column: int, task: LabelTask) -> Quality:
    observed_N = ~np.isnan(predictions.label_NT[:, column])
    label_N = predictions.label_NT[observed_N, column]
    logit_N = predictions.logit_NT[observed_N, column]
    weight_N = None if predictions.weight_N is None else predictions.weight_N[observed_N]
    group_N = None if predictions.group_N is None else predictions.group_N[observed_N]
    try:
        auc = metrics.auc(label_N, logit_N, weight_N)
        log_loss = metrics.log_loss(label_N, logit_N, weight_N)
        calibration = metrics.calibration(label_N, logit_N, weight_N)
        return Quality(
            auc=auc,
            auc_sd=metrics.auc_standard_deviation(label_N, logit_N, weight_N),
            log_loss=log_loss,
            log_loss_sd=metrics.log_loss_standard_deviation(label_N, logit_N, weight_N),
            normalized_entropy=metrics.normalized_entropy(log_loss, task.base_rate),
            calibration=calibration,
            calibration_error=float(abs(np.log(calibration))),
            grouped_auc=_grouped_auc(label_N, logit_N, group_N, weight_N),
        )
    except DataError as error:
        where = f"{predictions.split}, task {task.name}"
        raise DataError(error.what, where=where, hint=error.hint) from error


def _grouped_auc(
    label_N: np.ndarray,
    logit_N: np.ndarray,
    group_N: np.ndarray | None,
    weight_N: np.ndarray | None,
) -> float | None:
    if group_N is None:
        return None
    try:
        return metrics.grouped_auc(label_N, logit_N, group_N, weight_N)
    except DataError:  # no group has both labels
        return None


def _joined(parts: list[Tensor], ranks: Ranks) -> np.ndarray:
    """Join what all ranks have of each batch, batch by batch, on rank 0; no rows elsewhere."""
    if ranks.world == 1:
        return torch.cat(parts).numpy()
    lengths = ranks.gather_rows(torch.tensor([len(part) for part in parts]))
    columns = ranks.gather_rows(torch.cat(parts))
    of_rank = [all_N.split(n.tolist()) for all_N, n in zip(columns, lengths, strict=True)]
    of_batch = [part for batch in zip(*of_rank, strict=True) for part in batch]
    return torch.cat([parts[0][:0], *of_batch]).numpy()


def _joined_if_any(parts: Sequence[Tensor | None], ranks: Ranks) -> np.ndarray | None:
    return None if parts[0] is None else _joined([p for p in parts if p is not None], ranks)
