"""What one device does in a training step, part by part: N designs, on one or more devices.

Over ranks each has its share of the batch. Fused tables are dealt out
(`cost_models.memory.table_shares`) and the rank with most to look up is followed, as all others
wait for it; row-wise, each rank fills vectors of the whole batch with the rows that it holds. Plain
and dense tables are weights like any other. In BF16 wukong trains under autocast: products read and
write BF16, and so do the operations between them; norms stay FP32, and their results are converted,
and so are weights, which are FP32, in each pass. With activation checkpointing a layer's forward is
done once more in backward.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from cost_models import exact
from cost_models.exact import Array, Columns
from cost_models.memory.table_shares import TableShare, largest_share
from cost_models.operations import wukong_ops
from cost_models.operations.fusion import fused
from cost_models.operations.ops import ITEM_BYTES, OpColumns
from cost_models.operations.wukong_ops import Section
from cost_models.training import FP32_BYTES, HALF_BYTES, ID_BYTES, Training
from wukong.schema import InputSchema

_ONE, _ZERO = np.ones(1), np.zeros(1)
# Bytes that a dense update moves for each weight of a table, over those of the weight.
_UPDATE = {"adam": 7.0, "rowwise_adagrad": 7.0, "sgd": 3.0}
_NORMS = ("layer_norm", "batch_norm")
_IN_BF16 = ("gemm", "bmm", "elementwise", "copy", "reduction")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What FSDP gathers and sends at once: a layer, several alike, or what is left of the model.

    Attributes:
        forward, backward, again: operations; `again` is forward that backward repeats.
        repeats: units that it stands for, (N,) or (1,).
        weights: of one of them, (N,) or (1,); of the inputs and of the heads, those of both.
    """

    forward: list[OpColumns]
    backward: list[OpColumns]
    again: list[OpColumns]
    repeats: Array
    weights: Array


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """What one device does in a step.

    Attributes:
        units: the inputs, the layers, the heads.
        lookups: in the tables that the rank holds.
        codec: conversions of looked-up vectors and their gradients, before and after sending.
        optimizer: of the dense part's weights that the rank holds.
        table_update: of its share of the tables.
        share: of fused tables, over several ranks; None of others.
        features: whose ids are looked up.
    """

    units: list[Unit]
    lookups: list[OpColumns]
    codec: list[OpColumns]
    optimizer: list[OpColumns]
    table_update: list[OpColumns]
    share: TableShare | None
    features: int

    @property
    def parts(self) -> dict[str, list[OpColumns]]:
        """Part → its operations; what a step has not is left out."""
        found = {
            "lookups": self.lookups,
            "lookup codec": self.codec,
            "dense forward": [op for unit in self.units for op in unit.forward],
            "recomputed forward": [op for unit in self.units for op in unit.again],
            "dense backward": [op for unit in self.units for op in unit.backward],
            "dense optimizer": self.optimizer,
            "table update": self.table_update,
        }
        return {part: operations for part, operations in found.items() if operations}


def step_work(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: Array,
    training: Training,
    dtype: str = "float32",
    high: Columns | None = None,
) -> StepWork:
    """List what one device does in a step.

    Args:
        dtype: of the dense part's weights, activations and gradients: FP32 in training, under
            autocast, too.
        columns, schema, batch, training, high: as for `cost_models.times.step.step_time`.
    """
    own_batch = batch / training.ranks
    weights = _weights(columns, schema, high)
    plain = wukong_ops.lookup_operations(columns, schema, batch=own_batch)
    forward = [op for op in plain if op.phase == "forward"]
    vectors = sum((op.m * op.n for op in forward), _ZERO)
    share = None
    if training.fused and training.ranks > 1:
        share = largest_share(columns, schema, training, high=high)
    lookups = [_lookup(op, vectors, batch, share, training) for op in forward]
    updates = [_fused_update(op, training) for op in lookups]
    if not training.fused:
        updates = [op for op in plain if op.phase == "backward"]
        updates.append(_whole_update(weights.tables, training))
    optimizer = wukong_ops.optimizer_operations(columns, schema, high=high)
    autocast = training.precision == "bf16" and dtype == "float32"
    found = wukong_ops.sections(columns, schema, batch=own_batch, dtype=dtype, high=high)
    return StepWork(
        units=_units(found, weights, training, autocast=autocast),
        lookups=lookups,
        codec=[] if share is None else _codec(vectors, batch * share.columns, training),
        optimizer=[_divided(op, training.shard_ranks) for op in optimizer],
        table_update=updates,
        share=share,
        features=len(schema.categorical),
    )


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """How many there are: in the tables, in the root (those of FSDP's), in all of a section."""

    tables: Array
    root: Array
    of_layer: dict[int, Array]


def _weights(columns: Columns, schema: InputSchema, high: Columns | None) -> _Weights:
    tables, of_layer = _ZERO, {0: _ZERO}
    for part in exact.parts(columns, schema, high=high):
        if part.name == "tables":
            tables = tables + part.parameters
        else:
            of_layer[part.layer] = of_layer.get(part.layer, _ZERO) + part.parameters
    return _Weights(tables=tables, root=of_layer.pop(0), of_layer=of_layer)


def _units(
    found: list[Section], weights: _Weights, training: Training, *, autocast: bool
) -> list[Unit]:
    root = weights.root + (_ZERO if training.fused else weights.tables)
    layers = []
    for section, i in zip(found[1:-1], sorted(weights.of_layer), strict=True):
        total = weights.of_layer[i]
        forward, backward = _passes(section, training.compile, total if autocast else None)
        again = [dataclasses.replace(op, phase="backward") for op in forward]
        layers.append(
            Unit(
                forward=forward,
                backward=backward,
                again=again if training.activation_checkpointing else [],
                repeats=section.repeats,
                weights=total / np.maximum(section.repeats, 1),
            )
        )
    ends = []
    # The weights of both ends are converted with the heads'.
    for section, converted in ((found[0], _ZERO), (found[-1], weights.root)):
        forward, backward = _passes(section, training.compile, converted if autocast else None)
        ends.append(Unit(forward=forward, backward=backward, again=[], repeats=_ONE, weights=root))
    return [ends[0], *layers, ends[1]]


def _passes(
    section: Section, compiled: bool, converted: Array | None
) -> tuple[list[OpColumns], list[OpColumns]]:
    """Return the operations of forward and of backward.

    Args:
        converted: under autocast, weights that become BF16 in forward, and whose gradients become
            FP32 in backward.
    """
    passes = []
    for phase in ("forward", "backward"):
        operations = [op for op in section.operations if op.phase == phase]
        if compiled:
            operations = fused(operations, section.repeats)
        if converted is not None:
            results = [
                _converted(phase, op.m * op.n, count=op.count)
                for op in operations
                if op.kind in _NORMS
            ]
            operations = [*map(_in_bf16, operations), *results, _converted(phase, converted)]
        passes.append(operations)
    return passes[0], passes[1]


def _in_bf16(op: OpColumns) -> OpColumns:
    if op.kind not in _IN_BF16 or op.dtype != "float32":
        return op
    return dataclasses.replace(op, dtype="bfloat16", bytes=op.bytes / 2)


def _converted(
    phase: str, elements: Array, *, dtype: str = "bfloat16", count: Array = _ONE
) -> OpColumns:
    """Numbers of four bytes become numbers of two, or the other way round."""
    size = elements * (FP32_BYTES + HALF_BYTES)
    return OpColumns(kind="copy", phase=phase, dtype=dtype, count=count, m=elements, bytes=size)


def _codec(own: Array, held: Array, training: Training) -> list[OpColumns]:
    """Vectors of the rank's examples, and of all examples in the tables held, in both passes."""
    if training.lookup_precision != "fp16":
        return []
    return [
        _converted(phase, elements, dtype=dtype)
        for phase, dtype in (("forward", "float16"), ("backward", "bfloat16"))
        for elements in (own, held)
    ]


def _divided(op: OpColumns, ranks: int) -> OpColumns:
    return dataclasses.replace(op, m=op.m / ranks, bytes=op.bytes / ranks)


def _lookup(
    op: OpColumns, vectors: Array, batch: Array, share: TableShare | None, training: Training
) -> OpColumns:
    """What the rank with most looks up instead of its own examples' vectors."""
    m, k = op.m, op.k
    if share is not None:
        # More bags of as wide vectors; row-wise, of each bag those ids whose rows it holds.
        m = m * (batch * share.columns / np.maximum(vectors, 1.0))
        k = k / training.ranks if training.table_sharding == "row_wise" else k
    read = k * (ID_BYTES + op.n * training.table_bytes)
    return dataclasses.replace(op, m=m, k=k, bytes=m * (read + op.n * FP32_BYTES))


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


def _fused_update(lookup: OpColumns, training: Training) -> OpColumns:
    """Each looked-up row is read and written, and its bag's gradient read."""
    each = 2 * lookup.k * training.table_bytes + FP32_BYTES
    return dataclasses.replace(lookup, phase="backward", bytes=lookup.m * lookup.n * each)
