"""Knob importance, beside functions of which the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from codesign.contracts import Value
from codesign.importance import TRIALS, Importance, knob_importance

Designs = list[dict[str, Value]]


def drawn(trials: int, seed: int) -> Designs:
    rng = np.random.default_rng(seed)
    return [
        {
            "width": int(rng.choice([32, 64, 128, 256])),
            "rate": float(10 ** rng.uniform(-4, -1)),
            "order": str(rng.choice(["dot", "fm", "cross"])),
            "idle": int(rng.integers(0, 8)),
            "fixed": 3,
        }
        for _ in range(trials)
    ]


def share(found: Importance, knob: str) -> float:
    return next(each.share for each in found.knobs if each.knob == knob)


def test_what_decides_the_quality_comes_first_and_what_does_not_shows_nothing() -> None:
    designs = drawn(150, seed=1)
    effect = {"dot": 0.0, "fm": 1.0, "cross": 3.0}
    quality = [effect[str(d["order"])] + 0.3 * math.log2(int(d["width"])) for d in designs]
    found = knob_importance(designs, quality)
    assert found.reliable
    assert [each.knob for each in found.knobs][:2] == ["order", "width"]
    assert "fixed" not in [each.knob for each in found.knobs]
    idle = next(each for each in found.knobs if each.knob == "idle")
    assert abs(idle.share) < 0.02 < found.knobs[1].low


def test_a_knob_that_alone_decides_has_the_whole_share() -> None:
    designs = drawn(400, seed=2)
    found = knob_importance(designs, [math.log10(float(d["rate"])) for d in designs])
    assert found.r2 > 0.99
    assert share(found, "rate") == pytest.approx(1.0, rel=0.15)


def test_few_trials_do_not_dilute_the_share() -> None:
    shares = []
    for seed in range(6):
        designs = drawn(30, seed=seed)
        rate = [math.log10(float(d["rate"])) for d in designs]
        shares.append(share(knob_importance(designs, rate, seed=seed), "rate"))
    assert float(np.mean(shares)) > 0.85


def test_noise_is_called_unreliable() -> None:
    rng = np.random.default_rng(3)
    called = [
        knob_importance(drawn(30, seed=s), rng.normal(0, 1, 30).tolist()).reliable for s in range(8)
    ]
    assert not any(called)


def test_few_trials_and_knobs_that_never_vary_give_no_importance() -> None:
    few = knob_importance(drawn(TRIALS - 1, seed=0), [0.0] * (TRIALS - 1))
    same = knob_importance([{"fixed": 3}] * TRIALS, [float(i) for i in range(TRIALS)])
    assert (few.reliable, few.knobs, math.isnan(few.r2)) == (False, (), True)
    assert (same.reliable, same.knobs) == (False, ())


def test_a_knob_that_sleeps_is_judged_where_it_is_in_effect() -> None:
    designs = drawn(200, seed=4)
    quality = []
    for design in designs:
        if design["order"] != "fm":
            del design["idle"]
        quality.append(float(design.get("idle", 20.0)))
    found = knob_importance(designs, quality)
    assert found.reliable
    # The third of the trials where it acts, and only those, suffer from the shuffle.
    assert 0.01 < share(found, "idle") < 0.5


def test_ranks_make_it_blind_to_any_growing_transformation() -> None:
    designs = drawn(60, seed=6)
    quality = [math.log10(float(d["rate"])) + 0.1 * int(d["idle"]) for d in designs]
    found = knob_importance(designs, quality)
    assert found == knob_importance(designs, [math.exp(4 * q) for q in quality])
    assert stats.spearmanr(quality, [math.exp(4 * q) for q in quality]).statistic == 1.0


def test_shares_are_the_total_effects_of_a_function_whose_effects_are_known() -> None:
    # y = 4 a + 2 b + 4 a b with a, b = ±1: variance 16 + 4 + 16; totals (16 + 16) and (4 + 16).
    rng = np.random.default_rng(7)
    signs = rng.choice([-1, 1], (400, 2))
    designs: Designs = [{"a": int(a), "b": int(b)} for a, b in signs]
    found = knob_importance(designs, [4.0 * a + 2 * b + 4 * a * b for a, b in signs])
    level = np.array([4.0 * a + 2 * b + 4 * a * b for a, b in signs])
    ranks = dict(zip(level, stats.rankdata(level) / len(level), strict=True))
    table = {(a, b): ranks[4.0 * a + 2 * b + 4 * a * b] for a in (-1, 1) for b in (-1, 1)}
    variance = float(np.var(list(table.values())))
    total = np.mean([(table[1, b] - table[-1, b]) ** 2 for b in (-1, 1)]) / 4 / variance
    assert share(found, "a") == pytest.approx(total, abs=0.06)
