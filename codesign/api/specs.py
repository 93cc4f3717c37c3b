"""Specs: one to start from, and what one means before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codesign.estimate import Estimate


def init(path: str | Path) -> None:
    """Write a commented spec to start from.

    Raises:
        SpecError: there is a file already, or none can be written.
    """
    from importlib import resources

    from codesign.errors import SpecError

    text = resources.files("codesign.spec").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecError("exists already", where=str(path), hint="name another file") from None
    except OSError as error:
        raise SpecError(f"cannot be written: {error.strerror}", where=str(path)) from error


def validate(
    spec_path: str | Path,
    *,
    overrides: Sequence[str] = (),
    data_path: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Check a spec; return the size of its space, the feasible share and the range of costs.

    Predicted costs are those of a sample of up to 2,000 feasible designs.
    """
    import numpy as np

    from codesign.spec.problem import load_problem

    problem = load_problem(spec_path, overrides=overrides, data_path=data_path, say=say)
    size = problem.feasible.size
    drawn = problem.feasible.sample(2000, np.random.default_rng(0))
    costs = problem.feasible.costs(drawn)
    return {
        "study": problem.spec.name,
        "hash": problem.spec.hash,
        "designs": problem.space.size,
        "feasible": size.count,
        "feasible_is_exact": size.exact,
        "feasible_share": size.count / problem.space.size,
        "least_is_proven": size.exact or problem.task.cost_floor is not None,
        "costs": {
            name: {
                "least": problem.feasible.cheapest(name)[1],
                "median_of_feasible": float(np.median(values)),
                "most_of_sample": float(values.max()),
            }
            for name, values in costs.items()
        },
        "predicted": {} if problem.predicted is None else problem.predicted.ranges(drawn),
        "confidence": problem.spec.confidence,
    }


def estimate(
    spec_path: str | Path,
    *,
    overrides: Sequence[str] = (),
    data_path: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Estimate:
    """Predict what a study will take: GPU-hours, hours, money, each with its interval.

    Nothing is started or written.

    Raises:
        CodesignError: whatever a person can mend; among it a spec without hardware.
    """
    from codesign.estimate import estimate as of_problem
    from codesign.spec.problem import load_problem

    return of_problem(load_problem(spec_path, overrides=overrides, data_path=data_path, say=say))
