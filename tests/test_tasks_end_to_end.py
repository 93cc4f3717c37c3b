"""Two tasks from a CSV file to the front: the example of docs/data.md, by real commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.command import codesign
from tests.test_docs import ROOT, fenced

PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared data and the spec of the page; both tasks follow from the user."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    lines = fenced(PAGE, "shop.csv").splitlines()
    assert lines[0] == "session,user,item,ctr,cvr"
    for row in range(1500):
        user, item = int(rng.integers(12)), int(rng.integers(8))
        click = int(rng.random() < 0.2 + 0.05 * user)
        buy = int(click and rng.random() < 0.9 - 0.07 * user)
        lines.append(f"{row // 10},u{user},i{item},{click},{buy}")
    (folder / "shop.csv").write_text("\n".join(lines) + "\n")
    (folder / "shop.yaml").write_text(fenced(PAGE, "shop.yaml"))
    done = codesign("data", "prepare", folder / "shop.yaml", "--data", folder,
                    "--out", folder / "prepared")  # fmt: skip
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load(fenced(PAGE, "shop-study.yaml"))
    spec["data"]["path"] = str(folder / "prepared")
    # Two trials before the search learns, and a reference: Ax sees the name of a task's metric.
    spec["search"]["options"] = {"initial": 2, "candidates": 16, "mc_samples": 16}
    spec["objectives"][0]["reference"] = 0.5
    (folder / "study.yaml").write_text(yaml.safe_dump(spec))
    return folder


def test_the_front_of_one_tasks_auc_and_compute_is_found_and_trains_again(
    shop: Path, tmp_path: Path
) -> None:
    done = codesign("optimize", shop / "study.yaml", "--study", tmp_path / "study", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert [o["metric"] for o in content["objectives"]] == ["auc.cvr", "gflop_per_example"]
    assert content["floor"]["metrics"].keys() >= {"auc", "auc.ctr", "auc.cvr", "test_auc.cvr"}
    for trial in content["front"]:
        found = trial["measured"]
        assert found["auc"] == pytest.approx((found["auc.ctr"] + found["auc.cvr"]) / 2)
        assert 0.55 < found["test_auc.cvr"] < 1
        assert trial["sd"]["auc.cvr"] == found["auc_sd.cvr"]
        assert {"grouped_auc.ctr", "calibration.cvr", "normalized_entropy.cvr"} <= found.keys()
    ended = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert len(ended) == 4
    assert all(re.search(r" auc\.cvr 0\.\d+  gflop_per_example ", line) for line in ended)
    status = codesign("status", tmp_path / "study").stdout
    (best_line,) = re.findall("^best.*", status, re.MULTILINE)
    names = [entry.split()[0] for entry in best_line.split(": ")[1].split(", ")]
    assert names == ["auc.cvr", "gflop_per_example", "auc"]
    best = yaml.safe_load((tmp_path / "study/best.yaml").read_text())
    again = codesign(
        "train", tmp_path / "study/best.yaml", "--folder", tmp_path / "again", "--json"
    )
    assert again.returncode == 0, again.stderr
    metrics = json.loads(again.stdout)["metrics"]
    assert metrics["test_auc.cvr"] == best["measured_with_this_seed"]["test_auc.cvr"]
    printed = codesign("report", tmp_path / "study").stdout
    assert "test AUC of cvr" in " ".join(printed.split())
    page = (tmp_path / "study/report.html").read_text()
    assert "area under the ROC curve on validation, of the task cvr" in page
    assert "area under the ROC curve on test, mean over the tasks" in page
    costs = codesign("cost", tmp_path / "study/best.yaml").stdout
    assert "head of ctr" in costs
    assert "head of cvr" in costs


def test_a_task_that_the_data_do_not_have_is_named_with_its_place(
    shop: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "study.yaml"
    text = fenced(PAGE, "shop-study.yaml").replace("prepared/shop", str(shop / "prepared"))
    spec.write_text(text.replace("auc.cvr", "auc.cvt"))
    done = codesign("validate", spec)
    assert done.returncode == 2
    meant = "must be one of auc.ctr, auc.cvr; did you mean 'auc.cvr'?"
    column = {line: spec.read_text().splitlines()[line - 1].index("auc.cvt") + 1 for line in (3, 5)}
    assert f'{spec}:3:{column[3]}: train.monitor is "auc.cvt"; {meant}' in done.stderr
    assert f'{spec}:5:{column[5]}: objectives[0].metric is "auc.cvt"; {meant}' in done.stderr
