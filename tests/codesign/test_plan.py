"""`codesign plan` and `codesign.api.plan`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from codesign import api
from codesign.cli.plan import command, doublings
from codesign.contracts import PlanRequest
from codesign.errors import CodesignError, ConfigError
from cost_models.planner.evaluate import MEMORY_SHARE
from cost_models.planner.search import MOST_EVALUATIONS
from tests.support.command import codesign
from wukong.data.schema_only import read_schema
from wukong.task import CHOSEN

DESIGN = {
    "model": {"name": "wukong", "mlp_depth": 1, "d": 64},
    "train": {"table_backend": "fused", "table_optimizer": "sgd", "passes": 2},
    "design": {"layers": 2, "n_F": 8, "n_L": 8, "k": 8, "mlp_width": 256, "batch_size": 8192},
    "seed": 5,
}
FIGURES = {
    "memory_per_device_gib", "examples_per_s", "step_ms", "hours", "gpu_hours", "mfu", "money"
}  # fmt: skip
ROW = {"devices", "batch_per_device", "train", "predicted", "within_budgets", "tightest"}
TOP = {
    "design", "hardware", "examples", "minimize", "confidence", "memory_limit_gib",
    "gflop_per_example", "pf_days", "best", "parts_ms", "memory_parts_gib", "by_devices",
}  # fmt: skip


@pytest.fixture
def design(tmp_path: Path) -> Path:
    features = tmp_path / "features.yaml"
    features.write_text("tables: {id: {features: 20, rows: 100000}}\ndense: 3\n")
    path = tmp_path / "design.yaml"
    data = {"source": "schema", "path": str(features)}
    path.write_text(yaml.safe_dump({"data": data, **DESIGN}))
    return path


def plan(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_its_json_holds_the_system_its_figures_and_one_row_for_each_number_of_devices(
    design: Path,
) -> None:
    found = plan(design, "--hardware", "a100", "--devices", "8..100", "--examples", 1e9,
                 "--price", 3, "--precision", "bf16,tf32", "--choose", "compile=false")  # fmt: skip
    assert found.keys() == TOP
    assert [row["devices"] for row in found["by_devices"]] == [8, 16, 32, 64, 100]
    for row in (found["best"], *found["by_devices"]):
        assert row.keys() - {"on_front"} == ROW
        assert row["predicted"].keys() == FIGURES
        for figure in row["predicted"].values():
            assert figure.keys() == {"value", "low", "high", "label"}
            assert figure["low"] < figure["value"] < figure["high"]
            assert figure["label"]
        assert row["train"]["precision"] in ("bf16", "tf32")
        assert row["train"]["compile"] is False
        assert row["train"]["batch_size"] == 8192
        assert row["batch_per_device"] == -(-8192 // row["devices"])
    assert found["design"] == DESIGN["design"]


def test_its_page_names_every_part_the_interval_and_yaml_that_a_spec_takes(design: Path) -> None:
    done = codesign("plan", design, "--hardware", "h100-sxm", "--devices", 16)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for part in ("dense forward", "dense backward", "table update", "activations and gradients"):
        assert part in said
    assert "(predicted)" in said
    assert "each end holds with confidence 0.9" in said
    assert "PF-days (exact counts)" in said
    sections = yaml.safe_load(done.stdout.partition("to train it so:")[2])
    assert sections["launch"] == {"processes": 16}
    assert (
        sections["train"]
        == plan(design, "--hardware", "h100-sxm", "--devices", 16)["best"]["train"]
    )


def test_out_writes_a_design_file_of_the_same_model_with_the_system_and_nothing_else_does(
    design: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    request = PlanRequest(hardware="h100-sxm", devices=(8, 16), examples=1e9, batch_sizes=(16384,))
    api.plan(design, request)
    assert sorted(tmp_path.iterdir()) == before
    out = tmp_path / "planned.yaml"
    found = api.plan(design, request, out=out)
    written = yaml.safe_load(out.read_text())
    assert written["train"] == {**DESIGN["train"], **found["best"]["train"]}  # type: ignore[dict-item]
    assert written["train"]["batch_size"] == 16384
    shape = {k: v for k, v in DESIGN["design"].items() if k != "batch_size"}  # type: ignore[attr-defined]
    assert written["design"] == shape
    assert (written["seed"], written["launch"]) == (5, {"processes": found["best"]["devices"]})
    assert api.cost(out)["costs"] == api.cost(design)["costs"]
    again = api.plan(out, PlanRequest(hardware="h100-sxm", devices=(8, 16), examples=1e9))
    assert again["best"] == found["best"]
    with pytest.raises(CodesignError, match="exists already"):
        api.plan(design, request, out=out)


def test_what_cannot_be_is_named_with_what_can(design: Path) -> None:
    choices = {"compile": ("maybe",), "precision": ("fp8",), "passes": (1,)}
    request = PlanRequest(hardware="h100-sxm", devices=(8,), examples=1e9, choices=choices)
    with pytest.raises(ConfigError) as caught:
        api.plan(design, request)
    for said in (
        "compile is 'maybe'; must be true or false",
        "precision is 'fp8'; must be one of fp32, tf32, bf16",
        "passes cannot be chosen; must be one of table_sharding",
    ):
        assert said in caught.value.what
    for devices in ("0", "8..4", "8..x", "a", "-1"):
        done = CliRunner().invoke(
            command, [str(design), "--hardware", "h100-sxm", f"--devices={devices}"]
        )
        assert done.exit_code == 2
        assert "must be whole numbers ≥ 1" in done.output
    for option in ("--examples=nan", "--confidence=nan", "--hours=inf", "--memory-gib=inf"):
        done = CliRunner().invoke(command, [str(design), "--hardware", "h100-sxm", option])
        assert done.exit_code == 2
        assert "is no finite number" in done.output
    done = codesign("plan", design, "--hardware", "h100-sxm", "--memory-gib", 0.01)
    assert done.returncode == 4
    assert "tightest is memory_per_device_gib" in done.stderr


PAGE = Path("docs/plan.md").read_text(encoding="utf-8")


def test_every_command_of_the_page_on_plans_runs() -> None:
    block = re.search(r"<!-- commands -->\n```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    assert block is not None
    for line in block[1].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "codesign"
        done = codesign(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["design"]["mlp_width"] == 8192


def test_the_page_on_plans_says_what_the_code_does(tmp_path: Path) -> None:
    features = re.search(r"<!-- file: features.yaml -->\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert features is not None
    (tmp_path / "features.yaml").write_text(features[1])
    schema, _ = read_schema(tmp_path / "features.yaml")
    assert (len(schema.categorical), len(schema.dense)) == (721, 13)
    said = " ".join(PAGE.split())
    assert f"Up to {MOST_EVALUATIONS} systems" in said
    assert MEMORY_SHARE == 0.9
    assert "nine tenths of what the device has" in said
    named = set(re.findall(r"`([^`\s]+)`", said))
    assert set(CHOSEN) <= named


def test_a_range_is_doublings_and_its_end() -> None:
    assert doublings(8, 1024) == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert doublings(3, 20) == [3, 6, 12, 20]
    assert doublings(5, 5) == [5]
    assert doublings(6, 5) == []
