"""How a model is trained. Standard library only, so that a spec is checked without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DenseOptimizerName = Literal["adam", "sgd"]
TableOptimizerName = Literal["adam", "rowwise_adagrad", "sgd"]
TableBackend = Literal["plain", "dense", "fused"]
TableSharding = Literal["column_wise", "table_wise", "row_wise"]
Precision = Literal["fp32", "tf32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Goal = Literal["minimize", "maximize"]
# What a validation split is judged by, and which way is better; `auc.ctr` is that of the task ctr.
MONITORS: Mapping[str, Goal] = {
    "auc": "maximize",
    "log_loss": "minimize",
    "normalized_entropy": "minimize",
    "calibration_error": "minimize",
    "grouped_auc": "maximize",
}

# Where and how fast a run computes, not what: it is continued where these differ.
NOT_OF_RESULT = (
    "activation_checkpointing",
    "checkpoint_min",
    "dense_shard_ranks",
    "device",
    "eval_batch_size",
    "memory_check",
    "threads",
)

FUSED_OPTIMIZERS: tuple[TableOptimizerName, ...] = ("rowwise_adagrad", "sgd")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained. Every field is a scalar, so a design maps onto it one to one.

    Attributes:
        batch_size: examples a step, over all ranks, ≥ 1.
        passes: times the training split is seen, ≥ 1.
        dense_lr, table_lr: full learning rates, > 0.
        dense_optimizer: `adam` or `sgd`.
        table_optimizer: `adam`, `rowwise_adagrad` or `sgd`.
        table_backend: `plain`, `dense` or `fused`; see `wukong.embeddings`.
        table_l2: coupled weight decay over all rows of the tables at every step, ≥ 0.
        dense_l2: the same over all other parameters.
        clip_norm: largest norm of the dense part's gradient; 0 turns clipping off.
        warmup_share: share of all steps over which the learning rates grow linearly, in [0, 1].
        decay_share: share of all steps, the last ones, over which they fall linearly towards 0.
        plateau_factor: multiplies the learning rates at a plateau, in (0, 1]; 1 turns it off.
        plateau_patience: evaluations in a row without improvement that make a plateau, ≥ 1.
        early_stop_patience: evaluations in a row without improvement that end the run; 0 never.
        evals_per_pass: evaluations on the validation split in each pass, ≥ 1.
        monitor: the validation metric that decides about plateaus and the best weights, one of
            `MONITORS`; of several tasks it is the mean, and METRIC.TASK is one task's.
        compile: pass the model through torch.compile; pays back after hundreds of steps only.
        threads: CPU threads of torch; None leaves them as they are.
        eval_batch_size: examples of each rank in a forward pass of evaluations, ≥ 1.
        checkpoint_min: minutes between checkpoints, ≥ 0; 0 writes none.
        device: where to compute; `auto` takes a GPU where there is one.
        precision: of the dense part's products; its weights stay FP32.
        gradient_precision: of the dense gradients while they are summed over ranks.
        dense_shard_ranks: ranks that share one copy of the dense part's weights, a divisor of the
            number of ranks; 1: each has its own; 0: all share one.
        activation_checkpointing: keep each layer's input alone and compute the rest again.
        table_sharding: how the fused tables are cut over ranks; `row_wise` needs GPUs.
        table_shard_columns: least width of a column-wise shard, a multiple of 4, ≥ 4. A table is
            cut into shards of the smallest such width that divides its own, or left whole: the
            same shards at every number of ranks, each with an optimizer state of its own.
        table_precision: of the fused tables' weights.
        lookup_precision: of looked-up vectors between ranks; `fp16` sends gradients as BF16.
        memory_check: refuse to start where the predicted peak does not fit into memory.
    """

    batch_size: int = 4096
    passes: int = 3
    dense_lr: float = 1e-3
    table_lr: float = 1e-3
    dense_optimizer: DenseOptimizerName = "adam"
    table_optimizer: TableOptimizerName = "adam"
    table_backend: TableBackend = "plain"
    table_l2: float = 0.0
    dense_l2: float = 0.0
    clip_norm: float = 0.0
    warmup_share: float = 0.1
    decay_share: float = 0.0
    plateau_factor: float = 1.0
    plateau_patience: int = 1
    early_stop_patience: int = 0
    evals_per_pass: int = 1
    monitor: str = "auc"
    compile: bool = False
    threads: int | None = None
    eval_batch_size: int = 8192
    checkpoint_min: float = 10.0
    device: Device = "auto"
    precision: Precision = "fp32"
    gradient_precision: Literal["fp32", "bf16"] = "fp32"
    dense_shard_ranks: int = 0
    activation_checkpointing: bool = False
    table_sharding: TableSharding = "column_wise"
    table_shard_columns: int = 128
    table_precision: Literal["fp32", "fp16"] = "fp32"
    lookup_precision: Literal["fp32", "fp16"] = "fp32"
    memory_check: bool = True

    def __post_init__(self) -> None:
        mistakes = list(_mistakes(self))
        if mistakes:
            raise ConfigError("\n".join(mistakes), where="TrainConfig")


def _mistakes(c: TrainConfig) -> Iterator[str]:
    at_least_one = ("batch_size", "passes", "plateau_patience", "evals_per_pass", "eval_batch_size")
    for name in at_least_one:
        if not getattr(c, name) >= 1:
            yield f"{name} is {getattr(c, name)!r}; must be an integer ≥ 1"
    for name in ("dense_lr", "table_lr"):
        if not getattr(c, name) > 0:
            yield f"{name} is {getattr(c, name)!r}; must be > 0"
    for name in ("table_l2", "dense_l2", "clip_norm", "early_stop_patience", "checkpoint_min"):
        if not getattr(c, name) >= 0:
            yield f"{name} is {getattr(c, name)!r}; must be ≥ 0"
    for name in ("warmup_share", "decay_share"):
        if not 0 <= getattr(c, name) <= 1:
            yield f"{name} is {getattr(c, name)!r}; must be in [0, 1]"
    if not 0 < c.plateau_factor <= 1:
        yield f"plateau_factor is {c.plateau_factor!r}; must be in (0, 1]"
    for name, allowed in get_type_hints(TrainConfig).items():
        if get_origin(allowed) is Literal and getattr(c, name) not in get_args(allowed):
            yield f"{name} is {getattr(c, name)!r}; must be one of {', '.join(get_args(allowed))}"
    if c.monitor.partition(".")[0] not in MONITORS:
        yield f"monitor is {c.monitor!r}; must be one of {', '.join(MONITORS)}"
    if c.table_backend == "fused":
        yield from fused_mistakes(c.table_optimizer, c.table_l2)
    else:
        yield from _fused_only(c)
    if not c.dense_shard_ranks >= 0:
        yield f"dense_shard_ranks is {c.dense_shard_ranks!r}; must be ≥ 0"
    if c.table_shard_columns < 4 or c.table_shard_columns % 4:
        yield f"table_shard_columns is {c.table_shard_columns!r}; must be a multiple of 4, ≥ 4"
    if c.threads is not None and c.threads < 1:
        yield f"threads is {c.threads!r}; must be ≥ 1, or left out"


def _fused_only(c: TrainConfig) -> Iterator[str]:
    for name in ("table_sharding", "table_precision", "lookup_precision"):
        default = getattr(TrainConfig, name)
        if getattr(c, name) != default:
            yield (
                f"{name} is {getattr(c, name)!r} with the table backend {c.table_backend!r}; must "
                f"be {default!r}: only the table backend fused has others"
            )


def fused_mistakes(optimizer: str, l2: float) -> Iterator[str]:
    """Say why tables cannot be updated inside backward by this optimizer with this L2."""
    if optimizer not in FUSED_OPTIMIZERS:
        yield (
            f"table_optimizer is {optimizer!r} with the table backend 'fused'; must be one of "
            f"{', '.join(FUSED_OPTIMIZERS)}: a fused update touches the rows of one batch only, "
            f"{optimizer} moves all rows; the table backends plain and dense can"
        )
    if l2:
        yield (
            f"table_l2 is {l2} with the table backend 'fused'; must be 0: a fused update sees "
            "only rows looked up, not the whole table; the table backends plain and dense do"
        )
