"""What of a training run a checkpoint holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wukong.checkpoint.saver import Saver, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from wukong.checkpoint.folders import Checkpoint
    from wukong.divergence import Divergence
    from wukong.learner import Best, Learner
    from wukong.parallel.ranks import Ranks


class RunState:
    """Captures where a run stands, and goes back there, at any number of ranks.

    Weights, optimizer states and the rest are the same at every number of ranks. Each rank's
    random generator is continued where the number is the same; at another, each rank has a new
    one that the seed, the rank and the step decide.
    """

    def __init__(
        self, learner: Learner, best: Best, divergence: Divergence, *, ranks: Ranks, seed: int
    ) -> None:
        self._learner, self._best, self._divergence = learner, best, divergence
        self._ranks, self._seed = ranks, seed

    def capture(self, loop: Mapping[str, Any]) -> State:
        """Return the present state; its tensors share memory with the learner's.

        Args:
            loop: plain values of the training loop, which `restore` returns.
        """
        rank = self._ranks.rank
        own = {f"loss_sum.{rank}": self._learner.loss_sum}
        own |= {f"{name}.{rank}": state for name, state in self._generators().items()}
        return State(
            steps=self._learner.steps,
            tensors=self._tensors() | own,
            values={
                "learner": self._learner.values(),
                "best": self._best.values(),
                "divergence": self._divergence.state_dict(),
                "generators": list(self._generators()),
                "loop": dict(loop),
            },
        )

    def restore(self, saver: Saver, found: Checkpoint) -> Mapping[str, Any]:
        """Go to where a checkpoint of the same run stands; return the values of its loop."""
        self._learner.load_values(found.values["learner"])
        self._best.load_values(found.values["best"])
        self._divergence.load_state_dict(found.values["divergence"])
        rank, world, generators = self._ranks.rank, self._ranks.world, self._generators()
        # A sum over ranks: some of the former ranks' terms for each of the present ranks.
        loss_sum = self._learner.loss_sum
        former = range(rank, found.world, world)
        terms = {f"loss_sum.{each}": torch.zeros_like(loss_sum) for each in former}
        known = found.world == world and found.values["generators"] == list(generators)
        states = {f"{name}.{rank}": state for name, state in generators.items()} if known else {}
        saver.read(found, self._tensors() | terms | states)
        loss_sum.copy_(sum(terms.values(), torch.zeros_like(loss_sum)))
        if known:
            self._set_generators(states)
        else:
            entropy = np.random.SeedSequence([self._seed, rank, found.steps])
            torch.manual_seed(int(entropy.generate_state(1)[0]))
        loop: Mapping[str, Any] = found.values["loop"]
        return loop

    def _tensors(self) -> dict[str, Tensor]:
        return self._learner.tensors() | self._best.tensors()

    def _generators(self) -> dict[str, Tensor]:
        """Return the states of this rank's random generators, copies."""
        found = {"random": torch.get_rng_state()}
        if self._ranks.device.type == "cuda":
            found["random_cuda"] = torch.cuda.get_rng_state(self._ranks.device)
        return found

    def _set_generators(self, states: Mapping[str, Tensor]) -> None:
        rank = self._ranks.rank
        torch.set_rng_state(states[f"random.{rank}"])
        if self._ranks.device.type == "cuda":
            torch.cuda.set_rng_state(states[f"random_cuda.{rank}"], self._ranks.device)
