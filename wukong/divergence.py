"""Decides whether a training run has diverged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wukong import metrics

if TYPE_CHECKING:
    from wukong.evaluate import Evaluation

# Both losses above this many times what a constant reaches, at this many evaluations in a row.
DIVERGED_NORMALIZED_ENTROPY = 1.5
DIVERGED_EVALUATIONS = 2


class Divergence:
    """Watches one run; see `wukong.train.train` for the rule."""

    def __init__(self, base_rate: float) -> None:
        self.reason = ""
        self._limit = DIVERGED_NORMALIZED_ENTROPY * metrics.entropy(base_rate)
        self._bad_evaluations = 0

    def at_step(self, train_log_loss: float, step: int) -> bool:
        """Look at the mean training loss so far; return whether the run has diverged."""
        if not math.isfinite(train_log_loss):
            self.reason = f"the training log loss is {train_log_loss} at step {step}"
        return bool(self.reason)

    def at_evaluation(
        self, train_log_loss: float, evaluation: Evaluation | None, step: int
    ) -> None:
        """Look at one evaluation; None stands for logits that are not finite."""
        if evaluation is None:
            self.reason = f"a validation logit is not finite at step {step}"
            return
        bad = min(train_log_loss, evaluation.log_loss) > self._limit
        self._bad_evaluations = self._bad_evaluations + 1 if bad else 0
        if self._bad_evaluations == DIVERGED_EVALUATIONS:
            self.reason = (
                f"log loss {train_log_loss:.3g} in training and {evaluation.log_loss:.3g} on "
                f"validation at step {step}, evaluation {DIVERGED_EVALUATIONS} in a row "
                f"above {self._limit:.3g}, {DIVERGED_NORMALIZED_ENTROPY} times a constant's"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen so far, of a run that has not diverged."""
        return {"bad_evaluations": self._bad_evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another one stood."""
        self._bad_evaluations = state_dict["bad_evaluations"]
