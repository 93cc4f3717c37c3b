"""Who may import whom. Imports are read from the source, wherever in a file they stand."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("codesign", "cost_models", "launch", "wukong")
FLOOR = ("codesign.contracts", "codesign.errors")

# What a module may import of the four packages: the entry of its longest known prefix.
MAY_IMPORT = {
    "codesign": ("codesign",),
    "cost_models": ("cost_models", "wukong.schema", "wukong.shape", *FLOOR),
    "cost_models.profile": (
        "cost_models",
        "wukong.data.batch",
        "wukong.device.heap",
        "wukong.linear",
        "wukong.model",
        "wukong.schema",
        "wukong.shape",
        *FLOOR,
    ),
    "launch": ("launch", "codesign.serving", *FLOOR),
    "launch.slurm": ("launch", "codesign.serving", "codesign.study.folder", *FLOOR),
    "wukong": ("wukong", "codesign.errors"),
    "wukong.data_task": ("wukong", "cost_models", *FLOOR),
    "wukong.own": ("wukong", "cost_models", *FLOOR),
    "wukong.task": ("wukong", "cost_models", *FLOOR),
}

# The modules or packages that may import each heavy library: several only where their packages do
# not import each other.
HOMES = {
    "ax": ("codesign.search.ax_experiment", "codesign.search.stock_ax"),
    "fbgemm_gpu": ("wukong.embeddings.torchrec_tables",),
    "nevergrad": ("codesign.search.evolution", "cost_models.planner.evolution"),
    "sklearn": ("codesign.importance", "cost_models.times.learned.fit"),
    "starlette": ("codesign.dashboard.app",),
    "submitit": ("launch.slurm",),
    "torchrec": ("wukong.embeddings.torchrec_tables",),
    "uvicorn": ("codesign.dashboard.server",),
    "wandb": ("codesign.tracking.wandb",),
    "wandb_workspaces": ("codesign.tracking.workspace",),
}

HEAVY = ("ax", "botorch", "jsonschema", "nevergrad", "pandas", "plotly", "polars", "scipy")
HEAVY += ("sklearn", "starlette", "submitit", "torch", "torchrec", "uvicorn", "wandb")
HEAVY += ("wandb_workspaces",)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of all imports: of `from a import b`, a.b if that is a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                yield node.lineno, member if member in SOURCES else str(node.module)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = max((p for p in MAY_IMPORT if within(module, p)), key=len)
    wrong = [
        f"{SOURCES[module].relative_to(ROOT)}:{line} imports {name}; "
        f"{layer} may import only {', '.join(MAY_IMPORT[layer])}"
        for line, name in imports(SOURCES[module])
        if name.partition(".")[0] in PACKAGES
        and not any(within(name, allowed) for allowed in MAY_IMPORT[layer])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("library", "homes"), HOMES.items())
def test_a_heavy_library_is_imported_at_home_only(library: str, homes: tuple[str, ...]) -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {name}; only {', '.join(homes)} may"
        for module, path in SOURCES.items()
        for line, name in imports(path)
        if within(name, library) and not any(within(module, home) for home in homes)
    ]
    assert not strays, "\n".join(strays)


def test_every_imported_library_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(need).name) for need in project["dependencies"]}
    # Families: botorch and torchrec each come with exactly one version of these.
    declared |= {"fbgemm-gpu", "fbgemm-gpu-cpu", "gpytorch", "linear-operator"}
    owners = packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in SOURCES.values()
        for line, name in imports(path)
        if (top := name.partition(".")[0]) not in {*PACKAGES, *sys.stdlib_module_names}
        and not declared & {canonicalize_name(owner) for owner in owners.get(top, ())}
    }
    assert not undeclared, "\n".join(sorted(undeclared))


BLOCK_TORCHREC = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torchrec", "fbgemm_gpu"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
failed = []
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed.append(f"{module}: {error!r}")
sys.exit("\\n".join(failed) or 0)
"""


def test_wukong_and_cost_models_import_where_torchrec_is_absent() -> None:
    modules = [m for m in SOURCES if within(m, "wukong") or within(m, "cost_models")]
    assert {"wukong.layers", "wukong.model", "cost_models"} <= set(modules)
    modules = [m for m in modules if not within(m, HOMES["torchrec"][0])]
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_TORCHREC, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


HELP = f"""
import sys

from codesign.cli import main

sys.argv = ["codesign", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = sorted(set({HEAVY}) & sys.modules.keys())
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""


def test_codesign_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "optimize" in done.stdout
