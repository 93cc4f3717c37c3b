"""Damaged specs end in a message, never in a traceback and never in a long wait.

`CODESIGN_FUZZ=10000 pytest tests/codesign/spec/test_fuzz.py -s` runs the long form and prints the
slowest.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from codesign.errors import CodesignError
from codesign.spec.problem import load_problem
from tests.support.spec_mutations import mutations

SPACES = Path(__file__).parents[3] / "spaces"
SPECS = sorted(path.name for path in SPACES.glob("*.yaml"))
COUNT = int(os.environ.get("CODESIGN_FUZZ", "300"))
HANGS_S = 60
# Where every sound spec has thousands of systems planned, which takes seconds.
SHARE = {"h100_slurm.yaml": 0.1}


@contextmanager
def alarm(text: str) -> Iterator[None]:
    def rise(number: int, frame: object) -> None:
        raise AssertionError(f"still busy after {HANGS_S} s with:\n{text}")

    before = signal.signal(signal.SIGALRM, rise)
    signal.alarm(HANGS_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two features for specs that read CSV."""
    path = tmp_path_factory.mktemp("data") / "clicks.csv"
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(2)},{rng.integers(9)},{rng.integers(5)}" for _ in range(400)]
    path.write_text("\n".join(["label,user,item", *rows]) + "\n")
    return path


@pytest.mark.parametrize("name", SPECS)
def test_a_damaged_spec_is_refused_with_a_message_or_works(
    name: str, data: Path, tmp_path: Path
) -> None:
    text = (SPACES / name).read_text()
    path = tmp_path / "damaged.yaml"
    outcomes: Counter[str] = Counter()
    slowest = (0.0, "")
    rng = np.random.default_rng([len(name), COUNT])
    count = int(COUNT / len(SPECS) * SHARE.get(name, 1))
    for damaged in itertools.islice(mutations(text, rng), count):
        path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
        begun = time.perf_counter()
        with alarm(damaged):
            try:
                problem = load_problem(
                    path, data_path=str(data) if "source: csv" in damaged else None
                )
                _ = problem.feasible.size
                outcomes["works"] += 1
            except CodesignError as error:
                outcomes[type(error).__name__ if str(error).strip() else "silent"] += 1
        slowest = max(slowest, (time.perf_counter() - begun, damaged))
    print(f"{name}: {dict(outcomes)}; slowest {slowest[0]:.2f} s")
    (tmp_path / "slowest.yaml").write_text(slowest[1])
    assert outcomes["silent"] == 0
    assert outcomes["SpecError"] > 0.2 * sum(outcomes.values())
    assert outcomes["works"] > 0
