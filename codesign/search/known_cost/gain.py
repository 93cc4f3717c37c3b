"""The expected gain of a candidate whose costs are known, in closed form. NumPy and SciPy only.

Where one objective is learned and the others are known, a candidate's hypervolume improvement is
piecewise linear in the learned value: over the region of costs that it is good enough for, it adds
what it has above the best that is there already. Under a normal belief the expectation is a sum of
one closed term a piece,

    sum over pieces of  width * sd * h((mean - level) / sd),   h(z) = phi(z) + z Phi(z),

which is expected improvement where nothing is known (one piece). All is added up in logarithms, so
that far from the front, too, candidates differ (Ament et al., "Unexpected improvements to expected
improvement", 2023). All objectives are gains: more is better.

C candidates, F designs that they have to beat, K known gains, G cells of the known gains, L levels
(F and the reference).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import erfcx, ndtr

Array = np.ndarray[Any, Any]

_LOG_SQRT_2_PI = 0.5 * np.log(2.0 * np.pi)
_TAIL = 1e4  # beyond it h(-x) / phi(x) is 1 / x**2 to seven digits, as many as rounding leaves


def log_expected_gain(
    mean_C: Array,
    sd_C: Array,
    known_CK: Array,
    *,
    values_F: Array,
    known_FK: Array,
    reference: float,
    reference_K: Array,
) -> Array:
    """Return the logarithm of each candidate's expected hypervolume improvement.

    Args:
        mean_C, sd_C: normal belief of the learned gain, sd > 0.
        known_CK: the known gains, K ≥ 0.
        values_F, known_FK: learned and known gains of the designs to beat, which may be none.
        reference: the learned gain of the reference point; where K is 0 and F is not, not used.
        reference_K: its known gains.

    Returns:
        float64 (C,); minus infinity where a known gain is not better than the reference.
    """
    above = values_F > reference if len(reference_K) else np.ones(len(values_F), dtype=bool)
    best_first = np.argsort(-values_F[above], kind="stable")
    levels_L = np.append(values_F[above][best_first], reference)
    widths_CL = _widths(known_CK, known_FK[above][best_first], reference_K)
    log_terms_CL = np.full(widths_CL.shape, -np.inf)
    rows, columns = np.nonzero(widths_CL > 0)
    z = (mean_C[rows] - levels_L[columns]) / sd_C[rows]
    log_terms_CL[rows, columns] = np.log(widths_CL[rows, columns]) + log_h(z)
    return np.asarray(log_sum_exp(log_terms_CL) + np.log(sd_C))


def log_h(z: Array) -> Array:
    """Return log(phi(z) + z Phi(z)), the log of a standard normal's mean excess over -z."""
    z = np.asarray(z, dtype=np.float64)
    found = np.empty_like(z)
    low = z < -1.0
    high_z = z[~low]
    found[~low] = np.log(np.exp(-0.5 * high_z**2 - _LOG_SQRT_2_PI) + high_z * ndtr(high_z))
    x = -z[low]
    # Mills' ratio is erfcx: h(-x) = phi(x) (1 - x Mills(x)), without phi's underflow.
    capped = np.minimum(x, _TAIL)
    remainder = np.log1p(-capped * np.sqrt(0.5 * np.pi) * erfcx(capped / np.sqrt(2.0)))
    log_rest = np.where(x < _TAIL, remainder, -2.0 * np.log(x))
    found[low] = -0.5 * x**2 - _LOG_SQRT_2_PI + log_rest
    return found


def log_sum_exp(log_terms_CL: Array) -> Array:
    """Add up the rows' terms: (C,); minus infinity where all terms are."""
    most_C = log_terms_CL.max(axis=1, initial=-np.inf)
    safe_C = np.where(np.isfinite(most_C), most_C, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(log_terms_CL - safe_C[:, None]).sum(axis=1)) + safe_C)


def _widths(known_CK: Array, known_FK: Array, reference_K: Array) -> Array:
    """Measure, in the known gains, the region where each level is the best there is so far.

    Designs come best first, so a cell belongs to the first of them whose known gains all reach it,
    and to the reference (the last level) where there is none.

    Returns:
        float64 (C, F + 1): volumes within the region that a candidate's known gains reach.
    """
    candidates, designs = len(known_CK), len(known_FK)
    reached_CG = np.ones((candidates, 1))
    covers_LG = np.ones((designs + 1, 1), dtype=bool)
    for k, start in enumerate(reference_K):
        inner = np.unique(known_FK[:, k][known_FK[:, k] > start])
        low_E, high_E = np.append(start, inner), np.append(inner, np.inf)
        overlap_CE = np.maximum(np.minimum(known_CK[:, k, None], high_E) - low_E, 0.0)
        covers_LE = np.append(known_FK[:, k], np.inf)[:, None] >= high_E
        reached_CG = (reached_CG[:, :, None] * overlap_CE[:, None, :]).reshape(candidates, -1)
        covers_LG = (covers_LG[:, :, None] & covers_LE[:, None, :]).reshape(designs + 1, -1)
    owner_G = covers_LG.argmax(axis=0)
    owner_GL = np.zeros((len(owner_G), designs + 1))
    owner_GL[np.arange(len(owner_G)), owner_G] = 1.0
    return np.asarray(reached_CG @ owner_GL)
