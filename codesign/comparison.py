"""Whether one design's log loss is better than another's: paired on the same examples.

S seeds, N examples. Figures in % are relative to the reference: 100 (L / L_reference - 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = np.ndarray[Any, Any]
Finding = Literal["better", "slightly better", "equal", "open", "slightly worse", "worse"]

NOTICEABLE_PERCENT = 0.02
"""A difference in relative log loss that counts as significant in the Wukong paper."""

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """Standard deviation of the log loss between seeds, in nat, pooled over a study's designs.

    Attributes:
        degrees: degrees of freedom, ≥ 1.
    """

    sd: float
    degrees: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The relative log loss of one design, *measured*, with its interval.

    Attributes:
        percent: below 0 where the design is better than the reference.
        half_width_percent: half of the interval, which holds for all `family` designs at once.
        noticeable_percent: differences up to that count as none.
        seeds: whether the interval covers the spread between seeds; else it is of these very
            weights, and another seed may give another answer.
    """

    percent: float
    half_width_percent: float
    noticeable_percent: float
    family: int
    seeds: bool

    @property
    def finding(self) -> Finding:
        """What the interval says."""
        low, high = self.percent - self.half_width_percent, self.percent + self.half_width_percent
        if max(abs(low), abs(high)) <= self.noticeable_percent:
            return "equal"
        if high < 0:
            return "better" if high <= -self.noticeable_percent else "slightly better"
        if low > 0:
            return "worse" if low >= self.noticeable_percent else "slightly worse"
        return "open"

    @property
    def verdict(self) -> str:
        """Say it in words: `better by 0.04% ± 0.01, significant at 0.02%`."""
        limit = f"{self.noticeable_percent:g}%"
        amount = f"{abs(self.percent):.2f}% ± {self.half_width_percent:.2f}"
        signed = f"{self.percent:+.2f}% ± {self.half_width_percent:.2f}"
        return {
            "better": f"better by {amount}, significant at {limit}",
            "worse": f"worse by {amount}, significant at {limit}",
            "slightly better": f"better by {amount}, but perhaps by less than {limit}",
            "slightly worse": f"worse by {amount}, but perhaps by less than {limit}",
            "equal": f"equal within {limit} ({signed})",
            "open": f"no difference shown ({signed})",
        }[self.finding]


def seed_spread(runs: Mapping[int, Sequence[float]]) -> SeedSpread | None:
    """Pool the spread between seeds over designs, taken to be the same for all.

    Args:
        runs: design → the log loss of each of its seeds, in nat.

    Returns:
        None where no design ran on two seeds.
    """
    several = [np.asarray(values, dtype=float) for values in runs.values() if len(values) > 1]
    degrees = sum(len(values) - 1 for values in several)
    if not degrees:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in several)
    return SeedSpread(sd=math.sqrt(squares / degrees), degrees=degrees)


def compare(
    loss_SN: ArrayLike,
    reference_SN: ArrayLike,
    *,
    family: int,
    chosen_from: float = 1.0,
    spread: SeedSpread | None = None,
) -> Comparison:
    """Compare a design with the reference on the same examples.

    The variance has two parts: that of the paired difference over examples, seeds averaged
    (delta method for the ratio of means), and that of the seeds, `spread` over the number of runs
    of both. Student's quantile has Satterthwaite's degrees of freedom. The interval is widened
    (Bonferroni) so that all `family` comparisons hold at once with 95%, and so that it holds for a
    design whose very run was chosen for being lucky.

    Args:
        loss_SN: nat, of each example under each seed of the design.
        reference_SN: of the same examples; it may have another number of seeds.
        family: how many designs are compared with the reference, ≥ 1.
        chosen_from: of how many designs this one was chosen by the runs compared, ≥ 1; 1 where
            they are fresh.
        spread: between seeds; None where no design of the study ran on several.
    """
    from scipy import stats

    losses, references = np.atleast_2d(loss_SN), np.atleast_2d(reference_SN)
    loss_N, reference_N = losses.mean(axis=0, dtype=float), references.mean(axis=0, dtype=float)
    base = float(reference_N.mean())
    ratio = float(loss_N.mean()) / base
    sampling = float((loss_N - ratio * reference_N).var(ddof=1)) / loss_N.size / base**2
    runs = 1 / len(losses) + ratio**2 / len(references)
    between = spread.sd**2 * runs / base**2 if spread else 0.0
    variance = sampling + between
    degrees = variance**2 * spread.degrees / between**2 if spread and between else math.inf
    quantile = float(stats.t.isf((1 - CONFIDENCE) / (2 * family * chosen_from), degrees))
    return Comparison(
        percent=100 * (ratio - 1),
        half_width_percent=100 * quantile * math.sqrt(variance),
        noticeable_percent=NOTICEABLE_PERCENT,
        family=family,
        seeds=spread is not None,
    )
