"""Predictions of tables: statistics against SciPy and by hand, sums, intervals, what is refused."""

from __future__ import annotations

import csv
import json
import re
import shlex
import xml.etree.ElementTree as ET
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from codesign import api
from codesign.errors import ConfigError
from cost_models.artifacts import cost_model
from cost_models.evaluation.evaluate import evaluate, predict
from cost_models.evaluation.scatter import scatter_svg
from cost_models.hardware import SHIPPED, load_hardware
from cost_models.operations.names import find
from cost_models.operations.tables import DIMS, read_table
from cost_models.times.roofline import ASSUMED_UTILISATION
from tests.support.command import codesign

HEADER = "op,B,M,N,K,count,dtype,latency_ms"
LAYER = (
    "linear,1,4096,3072,1024,24,fp32,0.60",
    "bmm,256,512,512,64,24,fp32,0.30",
    "softmax,256,512,512,,24,fp32,0.20",
    "bmm,256,512,64,512,24,fp32,0.25",
    "layer_norm,1,4096,1024,,48,fp32,0.02",
    "VECgelu,1,4096,4096,,24,fp32,",
    "linear,1,4096,4096,1024,24,bf16,",
    "embedding,1,4096,1024,,1,fp32,",
)


def table(tmp_path: Path, *lines: str, name: str = "mine.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return path


def found_for(path: Path, device: str = "h100-sxm", confidence: float = 0.9) -> dict[str, Any]:
    return evaluate(path, device=device, confidence=confidence)


def test_each_row_is_predicted_by_the_model_of_its_own_precision(tmp_path: Path) -> None:
    path = table(tmp_path, *LAYER)
    found = found_for(path)
    hardware = load_hardware("h100-sxm")
    rows = found["operations"]
    assert [row["line"] for row in rows] == list(range(2, 2 + len(LAYER)))
    for group in read_table(path).groups():
        model = cost_model(hardware, group.precision).operations
        alone_ms = 1e3 * np.broadcast_to(model.seconds(group.op), group.rows.shape)
        assert [rows[place]["predicted_ms"] for place in group.rows] == pytest.approx(alone_ms)
        assert {rows[place]["precision"] for place in group.rows} == {group.precision}
    assert found["labels"].keys() == {"fp32", "bf16"}
    assert found["labels"]["bf16"] == "roofline of h100-sxm, bf16: uncalibrated"
    basis = {row["op"]: row["basis"] for row in rows if row["precision"] == "fp32"}
    assert {basis["linear"], basis["bmm"]}.isdisjoint({"assumed"})
    assert {basis[op] for op in ("softmax", "layer_norm", "VECgelu", "embedding")} == {"assumed"}
    assert rows[6]["basis"] == "assumed"


def test_sums_and_statistics_are_those_of_the_rows_by_hand(tmp_path: Path) -> None:
    found = found_for(table(tmp_path, *LAYER))
    rows = found["operations"]
    time_ms = sum(row["count"] * row["predicted_ms"] for row in rows)
    assert found["sum"]["predicted_ms"] == pytest.approx(time_ms)
    assert found["sum"]["executions"] == sum(row["count"] for row in rows)
    by_kind = sum(entry["predicted_ms"] for entry in found["kinds"].values())
    assert by_kind == pytest.approx(time_ms)
    for part, chosen in (("products", (0, 1, 3)), ("all", (0, 1, 2, 3, 4))):
        own = [rows[place] for place in chosen]
        predicted, measured, count = (
            np.array([row[name] for row in own])
            for name in ("predicted_ms", "measured_ms", "count")
        )
        error = np.abs(predicted - measured) / measured
        within = [row["low_ms"] <= row["measured_ms"] <= row["high_ms"] for row in own]
        said = found["compared"][part]
        assert said["rows"] == len(own)
        assert said["mean_relative_error"] == pytest.approx(error.mean())
        assert said["median_relative_error"] == pytest.approx(np.percentile(error, 50))
        assert said["p90_relative_error"] == pytest.approx(np.percentile(error, 90))
        ratio = (predicted * count).sum() / (measured * count).sum()
        assert said["error_of_sum"] == pytest.approx(ratio - 1)
        assert said["share_within_interval"] == pytest.approx(np.mean(within))
        tau = stats.kendalltau(predicted, measured).statistic
        assert said["kendall_tau"] == pytest.approx(tau)


def test_a_row_counted_four_times_is_four_rows(tmp_path: Path) -> None:
    once = "softmax,256,512,512,,{},fp32,0.2"
    other = "linear,1,4096,3072,1024,24,fp32,0.6"
    counted = found_for(table(tmp_path, once.format(4), other))
    written = found_for(table(tmp_path, *[once.format(1)] * 4, other, name="four.csv"))
    assert written["sum"] == pytest.approx(counted["sum"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4096), min_size=1, max_size=8, unique=True))
def test_the_interval_of_a_sum_lies_between_independent_and_wholly_shared_errors(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    lines = [f"relu,1,1024,{size},,{1 + size % 3},fp32," for size in sizes]
    path = table(tmp_path_factory.mktemp("sum"), *lines)
    found = predict(read_table(path), load_hardware("a100"))
    time_s = found.table.count * found.seconds
    weight = time_s / time_s.sum()
    shared = (weight * found.sigma).sum()
    alone = np.sqrt(((weight * found.sigma) ** 2).sum())
    spread = np.log(found.total_s(1.0) / found.total_s(0.0))
    assert alone - 1e-12 <= spread <= shared + 1e-12
    assert spread >= np.sqrt(0.5) * shared
    assert spread == pytest.approx(np.sqrt((shared**2 + alone**2) / 2))


def test_intervals_widen_with_confidence_and_what_comes_no_times_takes_none(
    tmp_path: Path,
) -> None:
    path = table(tmp_path, *LAYER)
    sums = [found_for(path, confidence=c)["sum"] for c in (0.6, 0.9, 0.99)]
    widths = [one["high_ms"] / one["low_ms"] for one in sums]
    assert widths == sorted(widths)
    assert len({one["predicted_ms"] for one in sums}) == 1
    never = found_for(table(tmp_path, "relu,1,8,8,,0,fp32,0.5", name="never.csv"))
    assert (never["sum"]["predicted_ms"], never["sum"]["high_ms"]) == (0, 0)
    assert never["compared"]["all"]["error_of_sum"] is None
    with pytest.raises(ConfigError, match="confidence is 1; must be above"):
        found_for(path, confidence=1)


def test_no_assumed_stream_is_faster_than_the_copies_that_were_seen(tmp_path: Path) -> None:
    """Device copies moved 3.0e12 B/s on an H100 and 4.3e12 on an H200, reads and writes counted."""
    ops = ("relu", "add", "copy", "softmax", "layer_norm")
    found = read_table(table(tmp_path, *(f"{op},1,{2**20},1024,,1,fp32," for op in ops)))
    for device, seen_bytes_per_s in (("h100-sxm", 3.0e12), ("h200", 4.3e12)):
        seconds = predict(found, load_hardware(device)).seconds
        for group in found.groups():
            rate = group.op.bytes / seconds[group.rows]
            assert (0.5 * seen_bytes_per_s < rate).all()
            assert (rate < seen_bytes_per_s).all()


def test_the_command_prints_writes_and_draws_what_the_api_returns(tmp_path: Path) -> None:
    path = table(tmp_path, *LAYER)
    out, plot = tmp_path / "predicted.csv", tmp_path / "plot.svg"
    shown = codesign("evaluate-cost", path, "--hardware", "h100-sxm", "--out", out, "--plot", plot)
    assert shown.returncode == 0, shown.stderr
    for text in ("rests on", "assumed", "sum of 193 executions", "mean error of a row", "products"):
        assert text in shown.stdout, text
    assert "ms of one" in shown.stdout
    assert re.search(r"(│|[0-9]) fp32 ", shown.stdout)
    done = codesign("evaluate-cost", path, "--hardware", "h100-sxm", "--json")
    found = json.loads(done.stdout)
    assert found == api.evaluate_cost(path, hardware="h100-sxm")
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["high_ms"]) for row in rows] == [
        row["high_ms"] for row in found["operations"]
    ]
    drawn = plot.read_text()
    assert "products: 3 rows" in drawn
    assert "other kinds: 2 rows" in drawn


def test_a_drawing_puts_each_point_where_its_times_are_and_stays_small() -> None:
    rng = np.random.default_rng(0)
    measured = 10 ** rng.uniform(-2, 3, 20_000)
    noisy = measured * np.exp(rng.normal(0, 0.05, 20_000))
    drawn = scatter_svg({"products": (measured, noisy)}, title="drawn <here> & there")
    assert len(drawn) < 150_000
    root = ET.fromstring(drawn)
    assert root[0].text == "drawn <here> & there"
    exact = ET.fromstring(scatter_svg({"products": (measured, measured)}, title="exact"))
    squares = [
        path.get("d", "")
        for path in exact.iter("{http://www.w3.org/2000/svg}path")
        if path.get("stroke-width")
    ]
    corners = [
        tuple(map(float, part.removesuffix("h3").split()))
        for path in squares
        for part in path.split("M")[1:]
    ]
    left = [(x, y) for x, y in corners if x < 400]
    right = [(x, y) for x, y in corners if x >= 400]
    assert max(abs((x + y) - (left[0][0] + left[0][1])) for x, y in left) <= 3
    assert {round(y) for _, y in right} == {round(right[0][1])}


def test_what_cannot_be_predicted_is_refused_by_file_row_and_key(tmp_path: Path) -> None:
    path = table(tmp_path, LAYER[0], "linear,1,8,8,8,1,tf32,")
    with pytest.raises(ConfigError) as error:
        found_for(path, device="cpu")
    assert str(error.value).startswith(f"{path}:3: is in tf32; ")
    assert "cpu.yaml has flop_per_s of fp32" in str(error.value)
    with pytest.raises(ConfigError, match="did you mean 'h100-sxm'"):
        found_for(path, device="h100-sxn")
    with pytest.raises(ConfigError, match=r"plot\.svg: cannot be written"):
        evaluate(path, device="h100-sxm", confidence=0.9, plot=tmp_path / "no/plot.svg")
    bare = table(tmp_path, LAYER[-1], name="bare.csv")
    with pytest.raises(ConfigError, match=r"bare\.csv: has no latency to draw"):
        evaluate(bare, device="h100-sxm", confidence=0.9, plot=tmp_path / "plot.svg")
    refused = codesign("evaluate-cost", tmp_path / "gone.csv", "--hardware", "h100-sxm")
    assert refused.returncode == 2
    assert "gone.csv: cannot be read" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_table_that_its_model_was_fitted_to_is_said_to_be_one(tmp_path: Path) -> None:
    path = table(tmp_path, *LAYER)
    assert found_for(path)["fitted_to_this_file"] == []
    values = yaml.safe_load((SHIPPED / "h100-sxm.yaml").read_text())
    content = json.loads(Path(load_hardware("h100-sxm").artifact["fp32"]).read_text())
    content["data"].append({"file": path.name, "sha256": sha256(path.read_bytes()).hexdigest()})
    (tmp_path / "mine.json").write_text(json.dumps(content))
    values["artifact"] = {"fp32": "mine.json"}
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(values))
    assert found_for(path, device=str(mine))["fitted_to_this_file"] == ["fp32"]
    shown = codesign("evaluate-cost", path, "--hardware", mine)
    assert "fitted to this very file, so errors are not held out" in " ".join(shown.stdout.split())


def test_a_missing_rate_or_artifact_is_missed_by_name(tmp_path: Path) -> None:
    values = yaml.safe_load((SHIPPED / "h100-sxm.yaml").read_text())
    del values["bytes_per_s"]
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(values))
    path = table(tmp_path, *LAYER)
    with pytest.raises(ConfigError) as error:
        found_for(path, device=str(mine))
    assert f"{mine}: bytes_per_s is missing; must be a mapping with value" in str(error.value)
    assert "h100-sxm.yaml shows the form" in str(error.value)
    values = yaml.safe_load((SHIPPED / "h100-sxm.yaml").read_text())
    values["artifact"] = {"fp32": "gone.json"}
    mine.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"gone\.json cannot be read"):
        found_for(path, device=str(mine))


ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/evaluate-cost.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run_on_its_table(tmp_path: Path) -> None:
    content = re.search(r"<!-- file: layer.csv -->\n```csv\n(.*?)```", PAGE, flags=re.DOTALL)
    commands = re.search(r"<!-- commands: evaluate -->\n```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    assert content is not None
    assert commands is not None
    (tmp_path / "layer.csv").write_text(content[1])
    for command in commands[1].splitlines():
        name, *arguments = shlex.split(command)
        assert name == "codesign"
        places = [str(tmp_path / each) if each.endswith(".csv") else each for each in arguments]
        done = codesign(*places)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hardware"] == "a100"
    assert len((tmp_path / "predicted.csv").read_text().splitlines()) == 8


def test_the_page_says_what_dims_mean_and_what_is_assumed_as_the_code_has_it() -> None:
    rows = PAGE.partition("| op | dims |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    assert len(rows) == 10
    for named, dims in (row.strip("| ").split(" | ") for row in rows):
        known = re.findall(r"`(\w+)`", named)
        assert {DIMS[find(name).kind] for name in known} == {dims}
    said = " ".join(PAGE.split())
    for (kind, phase), words in {
        ("elementwise", "forward"): "{}% for elementwise operations",
        ("copy", "forward"): "{}% for copies and Adam",
        ("optimizer", "optimizer"): "{}% for copies and Adam",
        ("softmax", "forward"): "{}% for softmax and layer norm",
        ("layer_norm", "forward"): "{}% for softmax and layer norm",
        ("reduction", "backward"): "{}% for reductions",
        ("embedding_bag", "forward"): "{}% for lookups",
    }.items():
        assert words.format(round(100 * ASSUMED_UTILISATION[kind, phase])) in said, kind
    assert load_hardware("h100-sxm").launch_s.value == 5e-6


def test_the_plot_of_the_page_holds_all_published_products_and_is_small() -> None:
    drawn = (ROOT / "docs/h100-products.svg").read_text(encoding="utf-8")
    assert len(drawn) < 150_000
    counted = [int(one.replace(",", "")) for one in re.findall(r": ([\d,]+) rows", drawn)]
    artifact = json.loads(Path(load_hardware("h100-sxm").artifact["fp32"]).read_text())
    assert sum(counted) == artifact["held_out"]["operations"]["rows"] == 3517
    assert "predicted by fits that have not seen them" in drawn
    page = " ".join((ROOT / "docs/costs.md").read_text(encoding="utf-8").split())
    assert f"took less than {1e6 * artifact['products']['law']['overhead_s']:.0f} µs" in page
