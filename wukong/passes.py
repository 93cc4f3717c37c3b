"""Which batches a training run consists of, and after which of them it is judged."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wukong.data.batch import Batch
    from wukong.data.dataset import DataSet
    from wukong.parallel.ranks import Ranks
    from wukong.train_config import TrainConfig


class Passes:
    """The steps of a run, counted from 1.

    Args:
        seed: decides the order of the examples in each pass.
        until: share of the steps after which the run pauses, in (0, 1]; 1: it does not.

    Attributes:
        steps: of the whole run.
        last_step: after which it ends, or pauses.
        examples: in all passes.
    """

    def __init__(
        self, data: DataSet, config: TrainConfig, ranks: Ranks, *, seed: int, until: float
    ) -> None:
        self._data, self._config, self._share, self._seed = data, config, ranks.share, seed
        whole, rest = divmod(data.rows("train"), config.batch_size)
        self._steps_each = whole + (rest > 1)
        self.steps = config.passes * self._steps_each
        self.last_step = min(self.steps, max(1, round(until * self.steps)))
        self.examples = config.passes * data.rows("train")

    def batches(self, done: int) -> Iterator[Batch]:
        """Yield this rank's batches after so many steps, up to the last step."""
        return islice(self._all_batches(done), max(0, self.last_step - done))

    def is_judged(self, step: int) -> bool:
        """Whether one of the pass's evaluations, evenly spaced, comes after this step."""
        per_pass, steps = self._config.evals_per_pass, self._steps_each
        return step * per_pass // steps > (step - 1) * per_pass // steps

    def _all_batches(self, done: int) -> Iterator[Batch]:
        first_pass, first_batch = divmod(done, self._steps_each)
        for pass_index in range(first_pass, self._config.passes):
            batches = self._data.batches(
                "train",
                self._config.batch_size,
                shuffle=True,
                seed=self._seed,
                pass_index=pass_index,
                first_batch=first_batch,
                share=self._share,
            )
            # A last batch of a single example is left out: batch norm finds no variance in it.
            yield from islice(batches, self._steps_each - first_batch)
            first_batch = 0
