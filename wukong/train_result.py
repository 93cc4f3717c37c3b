"""What came of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from wukong.device.memory import MemoryPeaks
    from wukong.evaluate import Evaluation


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run, all measured.

    Attributes:
        diverged: the run was given up; `reason` says why, and nothing was evaluated.
        paused: the run stopped on the way, at `steps`, and can be continued from its checkpoint.
        stopped: the run was told to stop at `steps`, and can be continued from its checkpoint.
        validation, test: quality of the weights that were best on validation; `model` holds them.
            Of a run that paused: of the weights at that step, and None. Of one that was stopped,
            validation of the best weights so far, where there are any, and None.
        test_losses: of each test example, or of evenly spread ones, with the test log loss for
            their mean (see `wukong.evaluate.example_losses`); None where the run diverged,
            paused or was stopped.
        best_step: the step after which the weights were best; 0 where the run diverged.
        examples_seen: training examples, counted in each pass.
        examples_per_s: of the training steps alone, without set-up and evaluations.
        train_seconds: the whole run, from building the model to the last evaluation.
        resumed_at_step: the step of the checkpoint that the run continued from; 0: of none.
        warnings: what a person should know about this run.
        memory: the most that a rank held, beyond what it held before the run.
    """

    diverged: bool
    paused: bool = False
    stopped: bool = False
    reason: str
    validation: Evaluation | None
    test: Evaluation | None
    best_step: int
    steps: int
    examples_seen: int
    examples_per_s: float
    train_seconds: float
    resumed_at_step: int
    warnings: list[str]
    model: nn.Module = field(repr=False, compare=False)
    test_losses: np.ndarray | None = field(default=None, repr=False, compare=False)
    memory: MemoryPeaks = field(compare=False)
