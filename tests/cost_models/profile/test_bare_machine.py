"""A machine with torch and NumPy alone, and the source tree copied to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from cost_models.profile.record import read
from tests.cost_models.profile.runs import ROOT, one_thread

# Runs the profiler where whatever is not the tree, torch, NumPy or needed by torch is not there.
ON_A_BARE_MACHINE = """
import runpy, sys

THERE = {
    *sys.stdlib_module_names, "codesign", "cost_models", "wukong", "numpy", "torch",
    "functorch", "torchgen", "triton", "typing_extensions", "sympy", "mpmath", "networkx",
    "jinja2", "markupsafe", "filelock", "fsspec", "setuptools", "_distutils_hack",
    "pkg_resources",
}

class Bare:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        there = top in THERE or top.startswith("_sysconfigdata")
        return self.finder.find_spec(name, path, target) if there else None

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Bare(finder) for finder in sys.meta_path]
try:
    import click
except ModuleNotFoundError:
    pass
else:
    sys.exit("click was found all the same")
from cost_models.profile import plan

plan.STEP_ROWS = 1
try:
    runpy.run_module("cost_models.profile", run_name="__main__", alter_sys=True)
finally:
    import cost_models
    print(cost_models.__file__, file=sys.stderr)
"""


def test_a_copied_tree_runs_where_there_is_nothing_but_torch_and_numpy(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for package in ("codesign", "cost_models", "wukong"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tree / package, ignore=ignored)
    out = tmp_path / "p.csv"
    arguments = ["--out", str(out), "--minutes", "2", "--device", "cpu", "--steps"]
    done = subprocess.run(
        [sys.executable, "-c", ON_A_BARE_MACHINE, *arguments],
        cwd=tree, capture_output=True, text=True, check=False,
        env=one_thread(PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stderr.splitlines()[-1]).is_relative_to(tree)
    summary = json.loads(done.stdout)
    rows = read(out)
    assert summary["rows"] == len(rows)
    assert {result.status for _, result in rows} == {"ok"}
    assert {case.section for case, _ in rows} == {"run", "ceiling", "step", "end"}
    assert json.loads(rows[0][1].note)["commit"] == "unknown"  # no repository came along
