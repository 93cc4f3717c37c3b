"""The documentation says what the program does."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from torch.utils.flop_counter import FlopCounterMode

from codesign import api
from codesign.comparison import NOTICEABLE_PERCENT
from codesign.contracts import TEST_LOSSES
from codesign.estimate import SAMPLE
from codesign.importance import TRIALS
from codesign.registry import PROPOSERS, plugin
from codesign.report.payload import CURVES, OTHER_CURVES
from codesign.scaling import DISTINCT_COSTS
from codesign.spec.problem import load_spec
from cost_models.hardware import ARTIFACTS, load_hardware
from cost_models.table5 import ROWS, PublishedRow, our_count
from tests.support.command import codesign
from tests.support.toy_spec import write_spec
from wukong.data.prepare import description
from wukong.evaluate import LOSS_EXAMPLES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COSTS, CALIBRATE = (
    " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())
    for name in ("costs.md", "calibrate.md")
)


def test_the_page_of_the_spec_is_what_schema_and_tables_say_now() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    found = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
    assert found == generate.page(), "run `make docs`"


def anchors(page: Path) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_link_make_target_and_module_named_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"\b(?:spaces|docs|requirements|benchmarks|cost_models)/[\w./-]*\w", text
    ):
        assert (ROOT / name).exists(), name
    for target, place in re.findall(r"\]\(([\w./-]*)(#[\w-]+)?\)", text):
        other = page.parent / target if target else page
        assert other.exists(), target
        assert not place or place[1:] in anchors(other), target + place
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z][a-z-]*[a-z])\b", text):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_counts_beside_table_5_are_ours(row: PublishedRow) -> None:
    ours = our_count(row)["gflop_per_example"]
    error = f"{100 * (ours / row.gflop_per_example - 1):+.0f}%".replace("-", "−")
    assert f"| {row.gflop_per_example:g} | {ours:.2f} | {error.replace('+0%', '0%')} |" in COSTS


def test_the_errors_said_of_predictions_are_those_of_the_artifacts() -> None:
    def held_out(device: str, what: str) -> dict[str, str]:
        artifact = json.loads(Path(load_hardware(device).artifact["fp32"]).read_text())
        found = artifact["held_out"][what]
        percent = {name: f"{100 * v:.3f}" for name, v in found.items() if isinstance(v, float)}
        whole = {f"{name}_0": f"{float(v):.0f}" for name, v in percent.items()}
        return {**percent, **whole, "rows": f"{found['rows']:,}"}

    memory, step = held_out("cpu", "memory"), held_out("cpu", "step")
    operations, products = held_out("cpu", "operations"), held_out("h100-sxm", "operations")
    for said in (
        f"{memory['rows']} measured FP32 steps, median error {memory['median_relative_error']}%",
        f"one in ten beyond {float(memory['p90_relative_error']):.1f}%",
        f"calibrated on {operations['rows']} operations and {step['rows']} whole steps",
        f"held-out steps: median error {step['median_relative_error_0']}%",
        f"one in ten beyond {step['p90_relative_error_0']}%",
        f"the upper ends hold for {step['share_below_upper_bound_0']}%",
        f"the lower ends for {step['share_above_lower_bound_0']}%",
        f"calibrated on {products['rows']} matrix products",
        f"held-out products: median error {products['median_relative_error_0']}%",
    ):
        assert said in COSTS, said


def test_the_errors_said_of_learned_products_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "benchmarks/results/products.json").read_text())

    def row(title: str, errors: dict[str, float], beside: dict[str, float]) -> str:
        values = [errors["mean"], errors["median"], errors["p90"], beside["mean"]]
        return f"| {title} | " + " | ".join(f"{value:.1f}%" for value in values) + " |"

    for each in found["cross_validation"]:
        said = row(f"5 folds, draw {each['seed']}", each["learned"], each["roofline"])
        assert said in COSTS, said
    largest = found["largest_tenth_by_flop"]
    assert row("largest tenth from the rest", largest["learned"], largest["roofline"]) in COSTS
    curve = [
        f"{each['products']:,} products {each['learned']['mean']:.1f}%"
        for each in found["learning_curve"]
    ]
    assert ", ".join(curve) in COSTS
    held = found["share_within_90_percent_intervals"]
    assert f"hold {100 * held['all']:.0f}% of all and {100 * held['largest']:.0f}% of the" in COSTS


@pytest.mark.parametrize(
    ("title", "precision", "total"),
    [
        ("step, FP32", "fp32", "step"),
        ("forward pass, FP32", "fp32", "forward"),
        ("compiled forward pass, FP32", "fp32", "compiled_forward"),
        ("step, BF16", "bf16", "step"),
        ("forward pass, BF16", "bf16", "forward"),
        ("compiled step, BF16", "bf16", "compiled_step"),
        ("compiled forward pass, BF16", "bf16", "compiled_forward"),
    ],
)
def test_the_table_of_held_out_totals_is_that_of_the_artifacts(
    title: str, precision: str, total: str
) -> None:
    artifact = json.loads((ARTIFACTS / f"roofline-cpu-{precision}.json").read_text())
    found = artifact["held_out"][total]

    def percent(name: str) -> str:
        return "–" if found[name] is None else f"{100 * found[name]:.1f}%"

    assert (
        f"| {title} | {found['rows']} | {percent('mean_relative_error')} | "
        f"{percent('median_relative_error')} | {percent('coverage')} | "
        f"{found['kendall_tau']:.2f} | {percent('pairwise_accuracy')} | {percent('regret')} | "
        f"{percent('largest_tenth_mean_relative_error')} |"
    ) in CALIBRATE


@pytest.mark.parametrize("name", PROPOSERS)
def test_each_proposer_has_its_options_on_its_page_and_its_example_is_valid(
    name: str, tmp_path: Path
) -> None:
    page = (ROOT / "docs/proposers.md").read_text(encoding="utf-8")
    _, section = re.split(rf"^## {name}$", page, flags=re.MULTILINE)
    section = section.split("\n## ")[0]
    (example,) = re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL)
    search = yaml.safe_load(example)["search"]
    assert search["proposer"] == name
    assert api.make_proposer(load_spec(write_spec(tmp_path, search=search)).spec)
    assert re.search(rf"^\| `{name}` ", page, flags=re.MULTILINE)
    if name != "known_cost":
        options = dataclasses.fields(plugin("proposer", name).Options)
        said = dict(re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", section, flags=re.MULTILINE))
        assert said == {o.name: "none" if o.default is None else str(o.default) for o in options}


def test_every_field_of_the_schema_is_described() -> None:
    schema = json.loads((ROOT / "codesign/spec/schema.json").read_text(encoding="utf-8"))

    def undescribed(entry: dict, path: str) -> list[str]:
        inner = entry["oneOf"][-1] if "oneOf" in entry else entry.get("items", entry)
        missing = []
        for name, field in inner.get("properties", {}).items():
            if "description" not in field:
                missing.append(f"{path}{name}")
            missing += undescribed(field, f"{path}{name}.")
        return missing

    assert undescribed(schema, "") == []
    assert undescribed(schema["$defs"]["parameter"]["oneOf"][2], "space.") == []


def fenced(page: str, name: str) -> str:
    """The block of a page that stands for a file."""
    found = re.search(rf"<!-- file: {name}[^>]*-->\n```\w+\n(.*?)```", page, flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_the_data_page_prepares_and_trains(tmp_path: Path) -> None:
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    rng = np.random.default_rng(1)
    lines = fenced(page, "clicks.csv").splitlines()
    header = lines[0]
    for day in range(1, 11):
        for _ in range(60):
            user, item, seen = (int(rng.integers(9)) for _ in range(3))
            label, price = int(rng.integers(2)), rng.uniform(1, 50)
            lines.append(f"{day},{label},u{user},i{item},red,i{seen}|i{item},{price:.2f}")
    assert header.split(",") == ["day", "clicked", "user", "item", "tags", "history", "price"]
    (tmp_path / "clicks.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "clicks.yaml").write_text(fenced(page, "clicks.yaml"))
    done = codesign(
        "data", "prepare", tmp_path / "clicks.yaml", "--data", tmp_path,
        "--out", tmp_path / "prepared", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == {"train": 422, "validation": 60, "test": 120}
    (tmp_path / "study.yaml").write_text(
        f"data: {{source: prepared, path: {tmp_path / 'prepared'}}}\n"
        "model: {name: wukong, n_F: 2, n_L: 2, k: 2, mlp_width: 8}\n"
        "train: {passes: 1, batch_size: 64}\nspace: {d: [4, 8]}\n"
        "objectives: [{metric: log_loss}]\nsearch: {trials: 1, proposer: random}\n"
    )
    study = codesign("optimize", tmp_path / "study.yaml", "--study", tmp_path / "study", "--json")
    assert study.returncode == 0, study.stderr
    assert len(json.loads(study.stdout)["front"]) == 1


def test_the_commands_of_the_page_on_studies_are_accepted_and_its_table_is_true(
    tmp_path: Path,
) -> None:
    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    study = tmp_path / "study"
    api.optimize(write_spec(tmp_path), study=study)
    block = re.search(r"<!-- commands -->\n```sh\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    tried = set()
    for line in block[1].splitlines():
        program, command, *arguments = shlex.split(line, comments=True)
        assert program == "codesign"
        done = codesign(command, *(a.replace("STUDY", str(study)).replace("t.parquet", str(
            tmp_path / "t.parquet")) for a in arguments))  # fmt: skip
        # Nothing runs: what is to be asked of a loop is understood, and refused.
        assert done.returncode == (5 if command in ("cancel", "extend") else 0), done.stderr
        tried.add(command)
    assert tried == {"status", "logs", "stop", "cancel", "extend", "report", "export"}
    named = set(re.findall(r"`([^`]+)`", page.replace(block[0], "")))
    present = {path.name for path in study.iterdir() if path.is_file()}
    present |= {f"{path.name}/" for path in study.iterdir() if path.name in ("lock", "requests")}
    present |= {path.name for path in (study / "trials/0000/attempt-1").iterdir()}
    assert present <= named
    assert {name for name in api.export(study).columns if "." not in name} <= named


def test_the_cluster_of_the_page_on_studies_is_estimated_planned_and_searched(
    tmp_path: Path,
) -> None:
    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    spec = tmp_path / "cluster.yaml"
    spec.write_text(fenced(page, "cluster.yaml"))
    block = re.search(r"<!-- estimate -->\n```sh\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    shown = []
    for line in block[1].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "codesign"
        done = codesign(*(str(spec) if a == "cluster.yaml" else a for a in arguments))
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    assert "trials     16, 4 of them confirming runs" in shown[0]
    assert json.loads(shown[1])["devices"] == 8
    assert "sample of 256 feasible designs" in page
    assert SAMPLE == 256
    few = ("--set", "search.trials=2", "--set", "search.confirm.top=0", "--set", "launch.workers=1")
    done = codesign("optimize", spec, "--study", tmp_path / "study", "--json", *few)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [o["metric"] for o in found["objectives"]] == ["log_loss", "predicted_examples_per_s"]
    assert yaml.safe_load((tmp_path / "study/best.yaml").read_text())["system"]["devices"] == 1


def test_the_data_page_names_every_shipped_description_type_and_key() -> None:
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`\s]+)`", page))
    assert set(description.shipped()) <= named
    assert set(description._KEYS) <= named
    keys = {key for keys in description._KEYS.values() for key in keys}
    assert keys <= named
    assert set(description.FORMATS) | set(description.TRANSFORMS) <= named


def test_code_of_ones_own_outside_the_tree_is_searched_like_any_data(tmp_path: Path) -> None:
    code = fenced((ROOT / "docs/data.md").read_text(encoding="utf-8"), "my_clicks.py")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/my_clicks.py").write_text(code)
    spec = tmp_path / "study.yaml"
    spec.write_text(
        "data: my_clicks:make\nmodel: {name: wukong, n_F: 2, n_L: 2, k: 2, mlp_width: 16}\n"
        "train: {passes: 8, batch_size: 50, dense_lr: 0.01, table_lr: 0.05, warmup_share: 0.0}\n"
        "space: {d: [4, 8]}\nobjectives: [{metric: auc}, {metric: gflop_per_example}]\n"
        "search: {trials: 2, proposer: random}\n"
    )
    arguments = ("optimize", spec, "--study", tmp_path / "study", "--json")
    lost = codesign(*arguments)
    assert lost.returncode == 3
    assert "no module 'my_clicks' can be imported" in lost.stderr
    done = codesign(*arguments, path=tmp_path / "outside")
    assert done.returncode == 0, done.stderr
    best = max(trial["measured"]["auc"] for trial in json.loads(done.stdout)["front"])
    # Four of five labels follow from the user's parity: the best AUC there is is .8.
    assert 0.7 < best < 0.9
    again = codesign("train", tmp_path / "study/best.yaml", "--folder", tmp_path / "again",
                     "--json", path=tmp_path / "outside")  # fmt: skip
    assert json.loads(again.stdout)["metrics"]["auc"] > 0.7


def test_a_model_of_ones_own_outside_the_tree_is_searched_counted_and_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    page = (ROOT / "docs/model.md").read_text(encoding="utf-8")
    (outside / "my_model.py").write_text(fenced(page, "my_model.py"))
    clicks = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    (outside / "my_clicks.py").write_text(fenced(clicks, "my_clicks.py"))
    spec, study = tmp_path / "study.yaml", tmp_path / "study"
    spec.write_text(fenced(page, "study.yaml"))
    valid = codesign("validate", spec, "--json", path=outside)
    assert valid.returncode == 0, valid.stderr
    found = json.loads(valid.stdout)
    assert (found["designs"], found["feasible_is_exact"]) == (48, True)
    run = ("optimize", spec, "--study", study, "--json")
    done = codesign(*run, path=outside)
    assert done.returncode == 0, done.stderr
    best = max(trial["measured"]["auc"] for trial in json.loads(done.stdout)["front"])
    # Four of five labels follow from the user's parity: the best AUC there is is .8.
    assert 0.7 < best < 0.9
    again = codesign("train", study / "best.yaml", "--folder", tmp_path / "again", "--json",
                     path=outside)  # fmt: skip
    design = yaml.safe_load((study / "best.yaml").read_text())
    measured = design["measured_with_this_seed"]["auc"]
    assert json.loads(again.stdout)["metrics"]["auc"] == measured
    cost = json.loads(codesign("cost", study / "best.yaml", "--json", path=outside).stdout)
    assert cost["costs"] == design["costs"]
    monkeypatch.syspath_prepend(outside)
    clicks_data = importlib.import_module("my_clicks").make(None)
    arguments = {k: v for k, v in design["design"].items() if k != "table_l2"}
    real = importlib.import_module("my_model").DLRM(clicks_data.schema, **arguments)
    with FlopCounterMode(display=False) as counter:
        batches = clicks_data.batches("train", 64, shuffle=False, seed=0, pass_index=0)
        real(next(batches)).sum().backward()
    flop = counter.get_total_flops() / 64
    assert cost["costs"]["gflop_per_example"] == pytest.approx(flop / 1e9)
    assert cost["costs"]["parameters"] == sum(p.numel() for p in real.parameters())
    assert sum(part["flop_per_example"] for part in cost["parts"]) == pytest.approx(flop)
    assert "my_model:DLRM" in (study / "report.html").read_text()
    with (outside / "my_model.py").open("a") as file:
        file.write("# changed\n")
    changed = codesign(*run, path=outside)
    assert changed.returncode == 5
    assert "my_model:DLRM" in changed.stderr


def test_the_report_page_names_the_limits_that_the_code_has() -> None:
    page = " ".join((ROOT / "docs/report.md").read_text(encoding="utf-8").split())
    for said in (
        f"at most {LOSS_EXAMPLES:,} examples",
        f"`{TEST_LOSSES}`",
        f"A difference of {NOTICEABLE_PERCENT:g}%",
        f"Fewer than {DISTINCT_COSTS} different costs",
        f"fewer than {TRIALS} designs",
        f"at most {CURVES} of the front and {OTHER_CURVES} others",
    ):
        assert said in page, said
