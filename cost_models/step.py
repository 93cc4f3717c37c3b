"""What a training step takes, part by part: N designs, or boxes of designs, on one or more devices.

A device's operations run one after the other. What devices send each other is not there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cost_models import wukong_ops
from cost_models.cost_model import CostModel
from cost_models.exact import Array, Columns, cost_floor
from cost_models.fusion import fused
from cost_models.hardware import DTYPES
from cost_models.ops import ITEM_BYTES, OpColumns
from cost_models.training import Training
from wukong.schema import InputSchema

_ONE = np.ones(1)
# Bytes that a dense update moves for each weight of a table, over those of the weight.
_UPDATE = {"adam": 7.0, "rowwise_adagrad": 7.0, "sgd": 3.0}


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How long a step takes.

    Attributes:
        quantiles_s: for each quantile asked for, seconds, (N,) or (1,).
        parts_s: part → its median seconds, (N,) or (1,); they add up to the median of the step.
    """

    quantiles_s: Sequence[Array]
    parts_s: Mapping[str, Array]


def step_time(
    model: CostModel,
    columns: Columns,
    schema: InputSchema,
    *,
    batch: Array,
    training: Training,
    zs: Sequence[float] = (0.0,),
    high: Columns | None = None,
) -> StepTime:
    """Predict the time of a training step.

    Args:
        columns: WukongConfig field → one value for all, or an array (see `cost_models.exact`).
        batch: examples of a step over all ranks, (N,) or (1,).
        zs: quantiles, as standard deviations above the median.
        high: the upper end of boxes of designs whose lower end is `columns`; the result is then a
            lower bound, exact where the two agree.
    """
    dtype = DTYPES[model.operations.precision]
    parts = step_operations(columns, schema, batch=batch, training=training, dtype=dtype, high=high)
    every = [op for found in parts.values() for op in found]
    is_box, compiled = high is not None, training.compile
    median_s, *quantiles_s = model.seconds(
        every, "training", (0.0, *zs), bound=is_box, compiled=compiled
    )
    alone_s = {part: _sum_s(model, found) for part, found in parts.items()}
    share = median_s / sum(alone_s.values(), np.zeros(1))
    return StepTime(
        quantiles_s=quantiles_s, parts_s={part: share * s for part, s in alone_s.items()}
    )


def step_operations(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: Array,
    training: Training,
    dtype: str = "float32",
    high: Columns | None = None,
) -> dict[str, list[OpColumns]]:
    """List what one device does in a step: part → its operations.

    Args:
        dtype: of activations and their gradients; weights and their optimizer are FP32.
        columns, schema, batch, training, high: as for `step_time`.
    """
    own_batch = batch / training.ranks
    dense = wukong_ops.operations(columns, schema, batch=own_batch, dtype=dtype, high=high)
    if training.compile:
        dense = fused(dense)
    lookups = wukong_ops.lookup_operations(columns, schema, batch=own_batch)
    forward = [op for op in lookups if op.phase == "forward"]
    if training.fused:
        updates = [_fused_update(op) for op in forward]
    else:
        high_or_low = columns if high is None else high
        weights = cost_floor(columns, high_or_low, schema)["table_parameters"]
        updates = [op for op in lookups if op.phase == "backward"]
        updates.append(_whole_update(weights, training))
    return {
        "lookups": forward,
        "dense forward": [op for op in dense if op.phase == "forward"],
        "dense backward": [op for op in dense if op.phase == "backward"],
        "dense optimizer": wukong_ops.optimizer_operations(columns, schema, high=high),
        "table update": updates,
    }


def _sum_s(model: CostModel, operations: Sequence[OpColumns]) -> Array:
    return sum((op.count * model.operations.seconds(op) for op in operations), np.zeros(1))


def _whole_update(weights: Array, training: Training) -> OpColumns:
    """All rows of a rank's share of the tables are updated."""
    own = weights / training.shard_ranks
    optimizer = np.atleast_1d(training.table_optimizer)
    moved = np.select([optimizer == name for name in _UPDATE], list(_UPDATE.values()))
    return OpColumns(
        kind="optimizer",
        phase="optimizer",
        dtype="float32",
        count=_ONE,
        m=own,
        bytes=ITEM_BYTES["float32"] * moved * own,
    )


def _fused_update(lookup: OpColumns) -> OpColumns:
    """Each looked-up row is read and written, and its bag's gradient read."""
    size = lookup.m * lookup.n * ITEM_BYTES["float32"] * (2 * lookup.k + 1)
    return OpColumns(
        kind="embedding_bag",
        phase="backward",
        dtype=lookup.dtype,
        count=lookup.count,
        m=lookup.m,
        n=lookup.n,
        k=lookup.k,
        batch=lookup.batch,
        bytes=size,
    )
