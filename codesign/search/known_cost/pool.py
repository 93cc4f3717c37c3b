"""The candidates of one proposal: drawn, and found by local search from the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.designs import as_designs, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from codesign.contracts import Design, Feasible

Array = np.ndarray[Any, Any]


class Pool:
    """Designs that may be proposed, each once, with their inputs.

    Args:
        inputs_of: turns designs into inputs, (R, X).
    """

    def __init__(
        self,
        feasible: Feasible,
        inputs_of: Callable[[Sequence[Design]], Array],
        taken: Iterable[Design],
    ) -> None:
        self.designs: list[Design] = []
        self._feasible = feasible
        self._inputs_of = inputs_of
        self._seen = {key_of(design) for design in taken}
        self._inputs: list[Array] = []

    @property
    def inputs_CX(self) -> Array:
        """The inputs of all designs."""
        return np.concatenate(self._inputs)

    def add(self, designs: Iterable[Design]) -> Array:
        """Add those designs that are neither taken nor here: their inputs, (new, X), if any."""
        fresh = {key: d for d in designs if (key := key_of(d)) not in self._seen}
        if not fresh:
            return np.zeros((0, 0))
        self._seen |= fresh.keys()
        self.designs += fresh.values()
        self._inputs.append(self._inputs_of([*fresh.values()]))
        return self._inputs[-1]

    def take(self, at: int) -> tuple[Design, Array]:
        """Remove a design for good: itself, and its inputs (1, X)."""
        inputs_CX = self.inputs_CX
        self._inputs = [np.delete(inputs_CX, at, axis=0)]
        return self.designs.pop(at), inputs_CX[at : at + 1]

    def best(self, score: Callable[[Array], Array], *, beam: int, steps: int) -> int:
        """Find the design with the highest score, by beam search over neighbours.

        Each step adds the neighbours of the best `beam` designs, until the best have no neighbours
        left that are not here, or for `steps`.

        Returns:
            Where it is in `designs`.
        """
        scores_C = score(self.inputs_CX)
        expanded: set[int] = set()
        for _ in range(steps):
            best = [c for c in np.argsort(-scores_C, kind="stable")[:beam] if c not in expanded]
            expanded.update(best)
            near = [d for c in best for d in as_designs(self._feasible.neighbours(self.designs[c]))]
            fresh_CX = self.add(near)
            if len(fresh_CX):
                scores_C = np.append(scores_C, score(fresh_CX))
            if not best:
                break
        return int(scores_C.argmax())
