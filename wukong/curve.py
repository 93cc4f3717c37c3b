"""The learning curve of a training run: one line per evaluation."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from wukong.evaluate import Evaluation

FILE = "curve.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """One line of the curve: where the run is and how good it is there.

    Attributes:
        examples: trained on so far; `total_examples` if the run is not stopped early.
        train_log_loss: mean over the labels since the evaluation before, as the loss weighs them.
        validation_auc, validation_log_loss: of several tasks, the means.
        by_task: `auc.TASK` and `log_loss.TASK` on validation; empty where there is one task.
        lr: the dense part's learning rate at the last step.
        seconds: since the run began, evaluations included.
    """

    step: int
    examples: int
    total_examples: int
    train_log_loss: float
    validation_auc: float
    validation_log_loss: float
    lr: float
    seconds: float
    by_task: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, evaluation: Evaluation, **where: Any) -> TrainProgress:
        """Describe an evaluation on validation; the other fields are given."""
        return cls(
            validation_auc=evaluation["auc"],
            validation_log_loss=evaluation["log_loss"],
            by_task={
                name: value
                for name, value in evaluation.figures.items()
                if name.startswith(("auc.", "log_loss."))
            },
            **where,
        )


@contextmanager
def curve_file(
    folder: Path | None, so_far: Iterable[TrainProgress]
) -> Iterator[Callable[[TrainProgress], None]]:
    """Open `curve.jsonl` for one JSON line per evaluation, each written at once for others to see.

    Args:
        folder: where the file is made anew; None writes nothing.
        so_far: the first lines, of a run that is continued.
    """
    if folder is None:
        yield lambda _: None
        return
    with (folder / FILE).open("w", encoding="utf-8", buffering=1) as lines:

        def write(progress: TrainProgress) -> None:
            print(json.dumps(asdict(progress)), file=lines)

        for progress in so_far:
            write(progress)
        yield write
