"""Whole training runs on some ranks, which are interrupted, killed and continued."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support import small_clicks
from wukong import train
from wukong.curve import TrainProgress
from wukong.data.prepared import open_prepared
from wukong.parallel.ranks import Ranks

# Its shards of eight columns are two to a table.
MODEL = replace(small_clicks.MODEL, d=16, bottom_width=16)
# 1025 rows in batches of 100: the last has 25, which four ranks share unevenly.
CONFIG = replace(
    small_clicks.CONFIG, batch_size=100, passes=3, evals_per_pass=2, checkpoint_min=1e-9,
    table_shard_columns=8, device="cpu", plateau_factor=0.5,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of a run.

    Attributes:
        figures: of the curve, the best step and the test split, by name.
    """

    resumed_at_step: int
    figures: Mapping[str, float]
    warnings: list[str]


def run(
    data: Path,
    folder: Path | None,
    settings: Mapping[str, Any],
    stop_after: int = 0,
    look_every: int = 100,
    dropout: float = 0.0,
    until: float = 1.0,
    told_at: int = 0,
) -> Ended:
    """Train on all ranks that there are, from the last checkpoint on.

    Args:
        stop_after: the evaluation at which the run is interrupted, before its checkpoint.
        look_every: steps between two looks at whether a checkpoint is due, but for evaluations.
        until: share of the steps after which the run pauses.
        told_at: the question at which the last rank, and no other, is told to stop; 0: none.
    """
    seen = itertools.count(1)

    def report(_: TrainProgress) -> None:
        if next(seen) == stop_after:
            raise InterruptedError

    questions, ranks = itertools.count(1), Ranks.present()

    def stop() -> bool:
        return next(questions) == told_at and ranks.rank == ranks.world - 1

    train.FINITE_CHECK_STEPS = look_every
    prepared = open_prepared(data)
    result = train.train(
        replace(MODEL, dropout=dropout), prepared.schema, prepared, replace(CONFIG, **settings),
        seed=1, folder=folder, report=report, until=until, stop=stop,
    )  # fmt: skip
    assert result.stopped == bool(told_at)
    judged = result.test or result.validation
    assert judged
    test = {f"test.{name}": value for name, value in judged.figures.items()}
    return Ended(
        resumed_at_step=result.resumed_at_step,
        figures={"best_step": result.best_step, "steps": result.steps, **test},
        warnings=result.warnings,
    )


def run_whole_and_paused(
    data: Path, whole: Path, paused: Path, settings: Mapping[str, Any], untils: Sequence[float]
) -> tuple[Ended, list[Ended]]:
    """Train without a pause, and the same with pauses, with dropout."""
    legs = [run(data, paused, settings, dropout=0.1, until=until) for until in (*untils, 1.0)]
    return run(data, whole, settings, dropout=0.1), legs


def run_whole_and_stopped(
    data: Path, whole: Path, stopped: Path, settings: Mapping[str, Any], told_at: Sequence[int]
) -> tuple[Ended, list[Ended]]:
    """Train undisturbed, and the same told to stop at some questions, with dropout."""
    legs = [run(data, stopped, settings, dropout=0.1, told_at=told) for told in (*told_at, 0)]
    return run(data, whole, settings, dropout=0.1), legs
