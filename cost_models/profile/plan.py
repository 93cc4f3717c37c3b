"""What is measured, the most valuable first: the same list whenever the device is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cost_models.operations import wukong_ops
from cost_models.profile.device import PRECISIONS
from cost_models.profile.operations import draw_precision, operation_cases
from cost_models.profile.record import Case
from cost_models.profile.sampling import interleave
from cost_models.profile.spaces import SPACES, Space, StepDesign, designs
from cost_models.table5 import ROWS

if TYPE_CHECKING:
    from cost_models.profile.device import Device

SECTIONS = ("op", "step", "table")
OP_ROWS, STEP_ROWS, COMPILED_ROWS, REPEATED_ROWS = 4000, 600, 150, 200
# Rows of each stream among a hundred; a first run of half an hour on an H100 gets through half.
SHARE = {"op": 78, "step": 12, "compiled": 3, "table": 4, "repeat": 3}
_SEED = 20240501  # of the order alone: no result depends on it
_ADAM_SHARE = 0.7  # of the memory, that weights and their state may take
_TABLE_ROWS = (1_000, 100_000, 1_000_000)


def plan(device: Device, sections: Sequence[str] = SECTIONS) -> list[Case]:
    """Return all cases for a device, in order.

    Args:
        device: its kind, precisions and memory decide what is worth measuring.
        sections: of `SECTIONS`; ceilings are always there.
    """
    space = SPACES["cuda" if device.is_cuda else "cpu"]
    rng = np.random.default_rng(_SEED)
    shapes = designs(space, STEP_ROWS, rng)
    steps = list(_steps(space, shapes, device, rng)) if "step" in sections else []
    compiled = [dataclasses.replace(case, mode="compiled") for case in _alternating(steps)]
    operations = (
        operation_cases(
            space,
            shapes,
            OP_ROWS,
            precisions=device.precisions,
            memory_bytes=device.memory_bytes,
            rng=rng,
        )
        if "op" in sections
        else []
    )
    tables = list(_tables(space, device, rng)) if "table" in sections else []
    repeated = list(interleave([(3, operations[::4]), (1, steps[::2])]))[:REPEATED_ROWS]
    streams: list[tuple[float, Sequence[Case]]] = [
        (SHARE["op"], operations),
        (SHARE["step"], steps),
        (SHARE["compiled"], compiled[:COMPILED_ROWS]),
        (SHARE["table"], tables),
        (SHARE["repeat"], [dataclasses.replace(case, repeat=1) for case in repeated]),
    ]
    return list(interleave(streams))


def ceilings(device: Device, *, repeat: int = 0) -> list[Case]:
    """Return the rates that nothing exceeds, and what a launch costs; measured in every run."""
    size, elements = (8192, 1 << 30) if device.is_cuda else (2048, 1 << 25)
    products = [
        Case(section="ceiling", kind="gemm", precision=name, layout="nn", m=size, n=size, k=size)
        for name in device.precisions
    ]
    modes = ("eager", "graph") if device.is_cuda else ("eager",)
    return [
        dataclasses.replace(case, repeat=repeat)
        for case in (
            *products,
            Case(section="ceiling", kind="copy", precision="fp32", m=elements),
            *(Case(section="ceiling", kind="launch", precision="fp32", mode=m) for m in modes),
        )
    ]


def _alternating(steps: Sequence[Case]) -> Iterator[Case]:
    """Yield the steps worth compiling: BF16 first, every third of another precision."""
    main = [case for case in steps if case.precision == "bf16"]
    rest = [case for case in steps if case.precision != "bf16"]
    return interleave([(2, main), (1, rest)])


def _steps(
    space: Space, shapes: Sequence[StepDesign], device: Device, rng: np.random.Generator
) -> Iterator[Case]:
    """Yield a step for each design: precision and batch size drawn of those that fit."""
    batches = np.array(space.batches)
    for number, shape in enumerate(shapes):
        precision = draw_precision(device.precisions, rng)
        if space.published and number < len(ROWS):
            precision = device.precisions[0]
        rows = int(rng.choice(_TABLE_ROWS[:2])) if number % 3 == 2 else 0
        design = dataclasses.replace(shape, table_rows=rows)
        if design.held_bytes(precision) > _ADAM_SHARE * device.memory_bytes:
            design = dataclasses.replace(shape, optimizer="none")
        fixed = design.held_bytes(precision)
        each = _example_bytes(design, precision)
        fits = (fixed + each * batches < 1.1 * device.memory_bytes) & (
            design.flop(1) * batches < space.step_s * space.flop_per_s[precision]
        )
        if fits.any():
            yield Case(
                section="step",
                kind="wukong",
                phase="step",
                precision=precision,
                mode="eager",
                batch=int(rng.choice(batches[fits])),
                design=design.to_json(),
            )


def _example_bytes(design: StepDesign, precision: str) -> float:
    """What an example adds to a step's memory, roughly: all that forward writes."""
    return PRECISIONS[precision].itemsize * sum(
        float(op.count[0] * op.batch[0] * op.m[0] * op.n[0])
        for op in wukong_ops.operations(design.config, design.schema, batch=1)
        if op.phase == "forward"
    )


def _tables(space: Space, device: Device, rng: np.random.Generator) -> Iterator[Case]:
    """Yield lookups and updates of stacked tables: m tables of `rows` rows, n wide, k ids a bag."""
    wanted = [
        (int(tables), int(width), ids, rows, int(batch))
        for tables in (8, 26, 100, 400)
        for width in (16, 64, 128, 256)
        for ids in (1, 10)
        for rows in (*_TABLE_ROWS, 10_000_000)
        for batch in space.batches[2::2]
    ]
    for i in rng.permutation(len(wanted)):
        tables, width, ids, rows, batch = wanted[i]
        moved = 4 * tables * width * (rows + 6 * batch * ids)
        if moved < 0.8 * device.memory_bytes:
            for phase in ("forward", "optimizer"):
                yield Case(section="table", kind="embedding_bag", phase=phase, precision="fp32",
                           batch=batch, m=tables, n=width, k=ids,
                           design=f'{{"rows":{rows}}}')  # fmt: skip
