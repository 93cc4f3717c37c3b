"""Evolutionary search over discrete choices, by nevergrad, which is imported here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def evolve(
    fields: Mapping[str, Sequence[Any]],
    loss: Callable[[dict[str, Any]], float],
    *,
    most_evaluations: int,
    seed: int,
) -> None:
    """Ask for the loss of one combination after the other, the first values of all fields first.

    Args:
        fields: name → values to choose from, at least one each.
        loss: of a combination, finite; who passes it keeps what it has seen.
        most_evaluations: calls of `loss`, ≥ 1; the same combination may be asked for again.
    """
    import nevergrad as ng
    import numpy as np

    plainest = {name: values[0] for name, values in fields.items()}
    choices = {
        n: ng.p.Choice(range(len(values))) for n, values in fields.items() if len(values) > 1
    }
    parametrization = ng.p.Dict(**choices)
    parametrization.random_state = np.random.RandomState(seed)
    optimizer = ng.optimizers.PortfolioDiscreteOnePlusOne(
        parametrization=parametrization, budget=most_evaluations
    )
    optimizer.suggest(dict.fromkeys(choices, 0))
    for _ in range(most_evaluations):
        asked = optimizer.ask()
        chosen = {name: fields[name][place] for name, place in asked.value.items()}
        optimizer.tell(asked, loss({**plainest, **chosen}))
