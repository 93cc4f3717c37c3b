"""The most memory that one rank holds in a training step, part by part, for many designs at once.

Between steps there are weights, optimizer states and tables; the step adds what
`cost_models.memory.stages` follows. Over ranks, each sees its share of the batch, and FSDP2 (torch
2.13's `fully_shard`, each Wukong layer a unit, the rest the root) keeps 1 / `shard_ranks` of all
weights, gradients and states, and besides whole

- the root's weights, from forward to the end of backward, and its gradients until then;
- in backward a layer's weights with its gradients, the next layer's weights, which are fetched
  ahead, and the gradients of the layer before on their way to the other ranks, counted as FP32.

Plain and dense tables are part of the root. Fused tables are dealt out by TorchRec (see
`cost_models.memory.table_shares`), and a rank sends and receives vectors of the whole batch.
Weights kept for early stopping, evaluations, checkpoints and what an allocator rounds up are left
out. Sizes are elements of FP32 until they are summed up. N designs, each array (N,) or (1,).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cost_models.exact import Array, Columns, Fields, cost_floor, input_row_columns
from cost_models.memory.stages import stages, step_peak
from cost_models.memory.table_shares import TableShare, largest_share
from cost_models.memory.walk import Stage
from cost_models.training import FP32_BYTES, ID_BYTES, Training
from wukong.schema import InputSchema
from wukong.shape import table_specs

# Of FP32 activations, what autocast to BF16 leaves: products are BF16, norms and sums are not.
# Measured on CPU: 0.69 to 0.79 at 1,024 examples, for six designs.
BF16_ACTIVATIONS = 0.75
_ZERO = np.zeros(1)


def training_bytes(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: Array,
    training: Training,
    high: Columns | None = None,
) -> Array:
    """Return the peak of a training step on one rank in bytes, (N,) or (1,).

    Args:
        columns: WukongConfig field → one value for all, or an array (see `cost_models.exact`).
        batch: examples of a step over all ranks, (N,) or (1,).
        high: the upper end of boxes of designs whose lower end is `columns`; the result is then a
            lower bound, exact where the two agree.
    """
    parts = peak_parts(columns, schema, batch=batch, training=training, high=high)
    return sum(parts.values(), _ZERO)


def peak_parts(
    columns: Columns,
    schema: InputSchema,
    *,
    batch: Array,
    training: Training,
    high: Columns | None = None,
) -> dict[str, Array]:
    """Return what is live at the peak: part → bytes, (N,) or (1,); see `training_bytes`."""
    counts = cost_floor(columns, columns if high is None else high, schema)
    held = _TablesHeld.of(columns, schema, training, counts["table_parameters"], high)
    own_batch = np.ceil(batch / training.ranks)
    whole = stages(
        columns,
        schema,
        batch=own_batch,
        high=high,
        one_step_layers=training.one_step_layers,
    )
    root = held.root + whole[0].grads + whole[-1].grads
    found = _on_one_rank(whole, training)
    dense = counts["dense_parameters"] / training.shard_ranks
    specs = table_specs(Fields(columns).config(1), schema)
    inputs = own_batch * (ID_BYTES / FP32_BYTES * len(specs) + len(schema.dense))
    # A table's gradient is made while that of X_0 is live.
    grads = sum((stage.repeats * stage.grads for stage in found), _ZERO)
    x_0 = own_batch * input_row_columns(Fields(columns), schema) * Fields(columns)["d"]
    over_ranks = training.ranks > 1
    on_their_way = whole[1].grads if over_ranks else _ZERO
    at_tables = grads + on_their_way + held.at_their_gradient(x_0, batch)
    step = np.maximum(step_peak(found), at_tables)
    elements = {
        "tables": held.weights,
        "table states": held.states,
        "dense weights": dense,
        "dense states": 2 * dense if training.dense_optimizer == "adam" else _ZERO,
        "weights gathered from other ranks": root if over_ranks else _ZERO,
        "batch": inputs + own_batch * len(schema.tasks),
        "lookups of other ranks' examples": held.ids(batch),
        "activations and gradients": step,
    }
    return {name: FP32_BYTES * count for name, count in elements.items()}


@dataclass(frozen=True, kw_only=True)
class _TablesHeld:
    """What a rank holds of the tables.

    Attributes:
        weights, states: between steps.
        root: the whole tables, where FSDP shards them; else 0.
        gradients: of whole tables; 0 where backward updates them.
        squares: what row-wise Adagrad makes of the gradients that it sees.
        fused: the share of fused tables; None of others.
    """

    weights: Array
    states: Array
    root: Array
    gradients: Array
    squares: Array
    fused: TableShare | None
    training: Training

    @classmethod
    def of(
        cls,
        columns: Columns,
        schema: InputSchema,
        training: Training,
        weights: Array,
        high: Columns | None,
    ) -> _TablesHeld:
        optimizer = np.atleast_1d(training.table_optimizer)
        rowwise = optimizer == "rowwise_adagrad"
        if training.fused:
            share = largest_share(columns, schema, training, high=high)
            return cls(
                weights=share.weights * training.table_bytes / FP32_BYTES,
                states=np.where(rowwise, share.rows, 0.0),
                root=_ZERO,
                gradients=_ZERO,
                squares=_ZERO,
                fused=share,
                training=training,
            )
        specs = table_specs(Fields(columns).config(1), schema)
        rows = float(sum(spec.cardinality for spec in specs))
        own = weights / training.shard_ranks
        states = np.select([optimizer == "adam", rowwise], [2 * own, rows / training.shard_ranks])
        return cls(
            weights=own,
            states=states,
            root=weights if training.ranks > 1 else _ZERO,
            gradients=weights,
            squares=np.where(rowwise, own, 0.0),
            fused=None,
            training=training,
        )

    def at_their_gradient(self, x_0: Array, batch: Array) -> Array:
        """Return what is live when backward reaches them, gradients of other weights apart.

        Args:
            x_0: elements of the gradient of X_0, as large as what was looked up.
            batch: examples of a step over all ranks.
        """
        if self.fused is None:
            return self.gradients + np.maximum(x_0, self.squares)
        if self.training.ranks == 1:
            return x_0
        # Gradients of looked-up vectors: sent, and received for the columns that are held.
        sizes = self.training.lookup_bytes / FP32_BYTES
        converted = 1 + sizes if sizes < 1 else 1.0
        return converted * (x_0 + batch * self.fused.columns)

    def ids(self, batch: Array) -> Array:
        """Return the ids and lengths that are received for the tables held; kept in the step."""
        if self.fused is None or self.training.ranks == 1:
            return _ZERO
        return 2 * ID_BYTES / FP32_BYTES * batch * self.fused.tables


def _on_one_rank(found: Sequence[Stage], training: Training) -> list[Stage]:
    """Return the stages as they are on one rank, with its precision and what it computes again."""
    done = [*found]
    if training.precision == "bf16":
        done = [_in_bf16(stage) for stage in done]
    if training.activation_checkpointing:
        done = [dataclasses.replace(stage, saved=stage.needed) for stage in done]
    if training.ranks == 1:
        return done
    return [done[0], *_sharded_layers(done[1:-1], training), done[-1]]


def _in_bf16(stage: Stage) -> Stage:
    """Smaller activations, and BF16 copies of the weights from forward on until backward."""
    copies = stage.grads / 2
    return dataclasses.replace(
        stage,
        saved=BF16_ACTIVATIONS * stage.saved + copies,
        needed=BF16_ACTIVATIONS * stage.needed,
        peak=BF16_ACTIVATIONS * (stage.peak - stage.grads) + stage.grads + copies,
    )


def _sharded_layers(layers: Sequence[Stage], training: Training) -> list[Stage]:
    """Return the layers as units of FSDP: gradients stay as a share, and weights are in flight."""
    found, after = [], [_ZERO]
    for stage in reversed(layers[1:]):
        after.append(after[-1] + stage.repeats)
    for index, (stage, later) in enumerate(zip(layers, reversed(after), strict=True)):
        own = stage.grads
        fetched = own if index and training.shard_ranks > 1 else _ZERO
        sharded = dataclasses.replace(
            stage, grads=own / training.shard_ranks, peak=stage.peak + own + fetched
        )
        # Only the last layer has none behind it whose gradients are on their way.
        last = np.where(later == 0, np.minimum(stage.repeats, 1), 0.0)
        before = dataclasses.replace(sharded, peak=sharded.peak + own, repeats=stage.repeats - last)
        found += [before, dataclasses.replace(sharded, repeats=last)]
    return found
