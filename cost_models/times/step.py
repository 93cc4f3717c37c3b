"""What a training step takes, part by part: N designs, or boxes of designs, on one or more devices.

A device computes one operation after the other (`cost_models.times.step_ops`). Over ranks it waits
for looked-up vectors and their gradients, for sums over all ranks, and for what of FSDP's messages
no computing hides (`cost_models.times.overlap`); ids travel during the step before, while FSDP's
messages leave the links free. At a quantile
all operations, and all messages, are as slow together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cost_models.exact import Array, Columns
from cost_models.operations.ops import OpColumns
from cost_models.times.communication import ASSUMED_SIGMA, Links
from cost_models.times.cost_model import CostModel
from cost_models.times.messages import (
    Message,
    UnitMessages,
    id_messages,
    sum_messages,
    vector_messages,
)
from cost_models.times.overlap import UnitTime, exposed
from cost_models.times.step_ops import StepWork, Unit, step_work
from cost_models.training import Training
from wukong.schema import InputSchema


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

    Raises:
        ConfigError: several ranks, and the device's file lacks a figure of its links.
    """
    work = step_work(columns, schema, batch=batch, training=training, high=high)
    z = np.array([[0.0], *([z] for z in zs)])
    computing = _computing(model, work, z, bound=high is not None, compiled=training.compile)
    parts_s = computing.parts_s
    if training.ranks > 1:
        links = Links.of(model.operations.hardware, training.ranks)
        sending = _Sending(links=links, scale=np.exp(ASSUMED_SIGMA * z))
        parts_s |= sending.parts_s(work, computing.units, batch, training)
    total_s = sum(parts_s.values(), np.zeros(1))
    return StepTime(quantiles_s=[*total_s[1:]], parts_s={part: s[0] for part, s in parts_s.items()})


@dataclass(frozen=True, kw_only=True)
class _Computing:
    """What a device computes: seconds at each of Z quantiles, (Z, N) or (Z, 1).

    Attributes:
        units: forward and backward of each unit, of all its repeats.
    """

    parts_s: dict[str, Array]
    units: list[tuple[Array, Array]]


def _computing(
    model: CostModel, work: StepWork, z: Array, *, bound: bool, compiled: bool
) -> _Computing:
    named: list[tuple[str, Sequence[OpColumns]]] = [
        ("lookups", work.lookups),
        ("lookup codec", work.codec),
        ("dense optimizer", work.optimizer),
        ("table update", work.table_update),
    ]
    for unit in work.units:
        named.append(("dense forward", unit.forward))
        named.append(("recomputed forward", unit.again))
        named.append(("dense backward", unit.backward))
    found = model.parts_seconds(
        [operations for _, operations in named],
        "training",
        [*z[:, 0]],
        bound=bound,
        compiled=compiled,
    )
    parts_s = {part: np.zeros((1, 1)) for part in work.parts}
    seconds = [np.stack(np.broadcast_arrays(*each)) for each in found]
    for (part, operations), each_s in zip(named, seconds, strict=True):
        if operations:
            parts_s[part] = parts_s[part] + each_s
    dense = seconds[-3 * len(work.units) :]
    units = [(dense[i], dense[i + 1] + dense[i + 2]) for i in range(0, len(dense), 3)]
    return _Computing(parts_s=parts_s, units=units)


@dataclass(frozen=True, kw_only=True)
class _Sending:
    """What waiting for other ranks adds.

    Attributes:
        scale: of all messages' seconds at each of Z quantiles, (Z, 1).
    """

    links: Links
    scale: Array

    def parts_s(
        self,
        work: StepWork,
        computed: Sequence[tuple[Array, Array]],
        batch: Array,
        training: Training,
    ) -> dict[str, Array]:
        """Return part → seconds (Z, N) or (Z, 1)."""
        forward = [op for unit in work.units for op in unit.forward]
        sums_s = self._seconds(sum_messages(forward, training))
        waited = exposed(
            [
                self._unit(unit, seconds, training)
                for unit, seconds in zip(work.units, computed, strict=True)
            ]
        )
        found = {
            "FSDP, not hidden": waited.fsdp_s,
            "all-reduce, not hidden": sums_s + waited.replicas_s,
        }
        if work.share is None:
            return found
        ids_s = self._seconds(id_messages(work.share, batch, work.features, training))
        dense_s = sum((forward_s + backward_s for forward_s, backward_s in computed), np.zeros(1))
        vectors_s = self._seconds(vector_messages(work.share, batch, training))
        return {
            "ids all-to-all, not hidden": np.maximum(ids_s - (dense_s - waited.hidden_s), 0.0),
            "embedding all-to-all": vectors_s,
            **found,
        }

    def _unit(self, unit: Unit, computed: tuple[Array, Array], training: Training) -> UnitTime:
        messages = UnitMessages.of(unit.weights, training)
        forward_s, backward_s = (each / np.maximum(unit.repeats, 1) for each in computed)
        return UnitTime(
            forward_s=forward_s,
            backward_s=backward_s,
            gather_s=self._seconds([messages.gather]),
            scatter_s=self._seconds([messages.scatter]),
            replicate_s=self._seconds([messages.replicate]),
            repeats=unit.repeats,
        )

    def _seconds(self, messages: Sequence[Message]) -> Array:
        return self.scale * sum(map(self.links.seconds, messages), np.zeros(1))
