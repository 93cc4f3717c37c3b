"""What is installed: the wheel's contents, the locks, and the check of an environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import codesign
from requirements import check, lock

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {name: check.read_lock(ROOT / "requirements" / f"{name}.txt") for name in ("cpu", "cuda")}
DIRECT = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [path] = folder.iterdir()
    assert path.name == f"codesign-{codesign.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_four_packages_and_no_other_top_level_name(
    wheel: zipfile.ZipFile,
) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    stem = f"codesign-{codesign.__version__}"
    assert top == {
        "codesign", "cost_models", "launch", "wukong", f"{stem}.data", f"{stem}.dist-info"
    }  # fmt: skip


def test_the_wheel_ships_every_file_of_the_packages_and_the_spaces(
    wheel: zipfile.ZipFile,
) -> None:
    data = f"codesign-{codesign.__version__}.data/data/share/codesign"
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("codesign", "cost_models", "launch", "wukong")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {f"{data}/{path.relative_to(ROOT)}" for path in (ROOT / "spaces").rglob("*.yaml")}
    assert f"{data}/spaces/quickstart.yaml" in wanted
    assert {"codesign/spec/schema.json", "codesign/report/page.html"} <= wanted
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == wanted


def test_the_wheel_carries_licence_command_and_python_version(wheel: zipfile.ZipFile) -> None:
    info = f"codesign-{codesign.__version__}.dist-info"
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "codesign = codesign.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_each_package_once_to_a_public_version(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    bad = [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line)]
    assert not bad
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert "://" not in text


def test_the_locks_differ_by_the_builds_of_fbgemm_and_the_cuda_libraries_only() -> None:
    cpu, cuda = LOCKS["cpu"], LOCKS["cuda"]
    assert cpu.keys() - cuda.keys() == {"fbgemm-gpu-cpu"}
    extra = cuda.keys() - cpu.keys() - {"fbgemm-gpu", "triton"}
    assert {"nvidia-cublas", "nvidia-nccl-cu13"} <= extra
    assert all(name.startswith(("nvidia-", "cuda-")) for name in extra)
    assert {n for n in cpu.keys() & cuda.keys() if cpu[n] != cuda[n]} == set()
    assert cpu["fbgemm-gpu-cpu"] == cuda["fbgemm-gpu"]


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize("need", DIRECT)
def test_a_direct_dependency_is_locked_within_its_range(need: str, name: str) -> None:
    requirement = Requirement(need)
    version = LOCKS[name].get(canonicalize_name(requirement.name))
    assert version is not None, f"{need} is not in {name}.txt; run `make locks`"
    assert requirement.specifier.contains(version), f"{name}.txt pins {version}"


def needs(name: str, extras: set[str], python: str) -> Iterator[Requirement]:
    """Yield what an installed package asks for under one version of Python on Linux."""
    environment = {**default_environment(), "python_version": python}
    environment["python_full_version"] = f"{python}.0"
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)
        ):
            yield requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_installed_lock_holds_all_that_its_packages_ask_for(python: str) -> None:
    locked = LOCKS["cpu" if check.torch_cuda_version() is None else "cuda"]
    unmet, seen = [], set[tuple[str, str]]()
    # recbole is there for its files; its code, and what that asks for, never runs.
    todo = [(name, "") for name in locked if name != "recbole"]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for need in needs(name, {extra}, python):
            wanted = canonicalize_name(need.name)
            if name == "torchrec" and wanted == "fbgemm-gpu" and "fbgemm-gpu-cpu" in locked:
                continue
            if wanted not in locked or not need.specifier.contains(locked[wanted], True):
                unmet.append(f"{name} wants {need}; the lock has {locked.get(wanted)}")
            else:
                todo += [(wanted, e) for e in need.extras]
    assert not unmet, "\n".join(unmet)


def test_names_of_requirements_are_read_in_their_canonical_spelling() -> None:
    assert lock.bare_name("Foo.Bar_baz[x, y]>=1,<2; python_version > '3'") == "foo-bar-baz"
    assert lock.pins([{"name": "Foo_Bar", "version": "1.0+cpu"}]) == {"foo-bar": "1.0"}


def test_this_environment_passes_the_check() -> None:
    name = "cpu" if check.torch_cuda_version() is None else "cuda"
    assert check.problems(name) == []


def test_the_check_names_each_package_that_is_missing_or_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cpu.txt").write_text("# a comment\nno-such-package==1.0\npytest==0.0.1\n")
    monkeypatch.setattr(check, "HERE", tmp_path)
    assert check.main("cpu") == 1
    message = capsys.readouterr().err
    assert "no-such-package is missing; the lock pins 1.0" in message
    assert f"pytest is {pytest.__version__}; the lock pins 0.0.1" in message
    assert "make venv" in message


def run_check(folder: Path, name: str, *, torch: str, cuda: str | None) -> tuple[int, str]:
    """Run the check as a script on an empty lock, with a stand-in for torch and fbgemm."""
    shutil.copy(check.__file__, folder / "check.py")
    (folder / f"{name}.txt").write_text("# empty\n")
    for package, source in (("torch", torch), ("fbgemm_gpu", "")):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(source)
    (folder / "torch" / "version.py").write_text(f"cuda = {cuda!r}\n")
    done = subprocess.run(
        [sys.executable, str(folder / "check.py"), name],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


OPERATORS = "class ops:\n    class fbgemm:\n        asynchronous_complete_cumsum = 1\n"


@pytest.mark.parametrize(("name", "cuda"), [("cpu", None), ("cuda", "13.0")])
def test_the_check_accepts_the_build_that_the_lock_wants(
    tmp_path: Path, name: str, cuda: str | None
) -> None:
    status, output = run_check(tmp_path, name, torch=OPERATORS, cuda=cuda)
    assert (status, "torch and fbgemm load" in output) == (0, True), output


@pytest.mark.parametrize(
    ("name", "cuda", "found", "way_out"),
    [
        ("cpu", "13.0", "torch is the build for CUDA 13.0", "LOCK=cuda"),
        ("cuda", None, "torch is the CPU build", "LOCK=cpu"),
    ],
)
def test_the_check_refuses_the_other_build_even_if_torch_does_not_import(
    tmp_path: Path, name: str, cuda: str | None, found: str, way_out: str
) -> None:
    broken = "raise OSError('libcudart.so.13: cannot open shared object file')"
    status, output = run_check(tmp_path, name, torch=broken, cuda=cuda)
    assert status == 1
    assert found in output
    assert way_out in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("torch", "reason"),
    [
        ("raise OSError('libcuda.so.1: cannot open')", "`import torch` fails: libcuda.so.1"),
        ("raise ValueError('libcublas not found')", "`import torch` fails: libcublas not found"),
        ("class ops:\n    class fbgemm: ...\n", "fbgemm_gpu has no operators"),
    ],
)
def test_the_check_says_in_words_what_does_not_load(
    tmp_path: Path, torch: str, reason: str
) -> None:
    status, output = run_check(tmp_path, "cuda", torch=torch, cuda="13.0")
    assert status == 1
    assert reason in output
    assert "driver for CUDA 13" in output
    assert "Traceback" not in output
