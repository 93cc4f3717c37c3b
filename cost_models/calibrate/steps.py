"""Measured training steps: what they do, and what they took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cost_models.exact import Array, Columns
from cost_models.operations.ops import OpColumns
from cost_models.profile.record import Case, Result
from cost_models.profile.spaces import StepDesign
from cost_models.times.step_ops import step_work
from cost_models.times.totals import COMPILED, StepSums, Total
from cost_models.training import Training
from wukong.schema import InputSchema

# total → the parts of a step that it takes; None: all.
_PARTS: Mapping[Total, tuple[str, ...] | None] = {
    "training": None,
    "step": ("dense forward", "dense backward", "dense optimizer"),
    "forward": ("dense forward",),
}


@dataclass(frozen=True, kw_only=True)
class MeasuredStep:
    """One training step, on one device.

    Attributes:
        design: what tells it from other designs; steps of one design are never told apart.
        columns: fields of WukongConfig, one value each.
        batch: examples.
        seconds: total → what it took.
    """

    design: str
    columns: Columns
    schema: InputSchema
    batch: int
    training: Training
    seconds: Mapping[Total, float]

    def operations(self, total: Total) -> list[OpColumns]:
        """List what a total consists of."""
        # The trainer computes in BF16 under autocast, the profiler with BF16 weights.
        is_whole = total != "training" and self.training.precision == "bf16"
        parts = step_work(
            self.columns,
            self.schema,
            batch=np.array([float(self.batch)]),
            training=self.training,
            dtype="bfloat16" if is_whole else "float32",
        ).parts
        wanted = _PARTS[total] or tuple(parts)
        return [op for name in wanted for op in parts.get(name, [])]


@dataclass(frozen=True, kw_only=True)
class MeasuredTotals:
    """Totals of one name, each field (R,).

    Attributes:
        sums: of their operations, as a model predicts these.
        seconds: measured.
        examples: of a step.
        design: number of the design.
    """

    sums: StepSums
    seconds: Array
    examples: Array
    design: Array

    def __getitem__(self, rows: Array) -> MeasuredTotals:
        return MeasuredTotals(**{name: value[rows] for name, value in vars(self).items()})

    def __len__(self) -> int:
        return len(self.seconds)


def profiled_step(case: Case, result: Result) -> MeasuredStep:
    """Read a row of a profile: with tables, its update of these is the profiler's own."""
    design = StepDesign.from_json(case.design)
    seconds: dict[Total, float] = {"forward": result.forward_ms / 1e3}
    if not design.table_rows and design.optimizer == "adam":
        seconds["step"] = result.median_ms / 1e3
    training = Training(precision=case.precision, compile=case.mode == "compiled")
    return MeasuredStep(
        design=f"{sorted(design.config.items())} {design.features} {design.dense}",
        columns=design.config,
        schema=design.schema,
        batch=case.batch,
        training=training,
        seconds=seconds,
    )


def named_totals(steps: Sequence[MeasuredStep]) -> dict[str, list[tuple[MeasuredStep, Total]]]:
    """Sort measured totals by the name that a fit of them has."""
    found: dict[str, list[tuple[MeasuredStep, Total]]] = {}
    for step in steps:
        for total in step.seconds:
            name = f"{COMPILED}{total}" if step.training.compile else total
            found.setdefault(name, []).append((step, total))
    return dict(sorted(found.items()))


def measured_totals(
    rows: Sequence[tuple[MeasuredStep, Total]], seconds: Callable[[OpColumns], Array]
) -> MeasuredTotals:
    """Add up the operations of totals, each taking `seconds` of it."""
    sums = [StepSums.of(step.operations(total), seconds) for step, total in rows]
    designs = {step.design: number for number, (step, _) in enumerate(rows)}
    fields = ("operations_s", "memory_s", "count")
    return MeasuredTotals(
        sums=StepSums(**{f: np.array([getattr(s, f)[0] for s in sums]) for f in fields}),
        seconds=np.array([step.seconds[total] for step, total in rows]),
        examples=np.array([float(step.batch) for step, _ in rows]),
        design=np.array([designs[step.design] for step, _ in rows]),
    )
