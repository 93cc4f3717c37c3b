"""`codesign calibrate` on real measurements and on a study of real trials."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from codesign import api
from codesign.errors import ConfigError, StudyError
from codesign.study.measured import measured_runs
from cost_models.hardware import SHIPPED
from tests.support.command import codesign

MEASURED = SHIPPED.parent / "measurements/cpu-epyc-2-threads-onednn.csv"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight real trials."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    data = folder / "data"
    data.mkdir()
    for split, rows in (("train", 3000), ("valid", 400), ("test", 400)):
        columns = rng.integers(0, 20, (rows, 4))
        lines = [f"{row[0] % 2},{','.join(map(str, row[1:]))}" for row in columns]
        (data / f"{split}.csv").write_text("label,a,b,c\n" + "\n".join(lines) + "\n")
    spec = {
        "data": {"source": "csv", "path": str(data)},
        "model": {"name": "wukong", "head_depth": 1, "head_width": 8, "n_F": 2, "n_L": 2, "k": 2},
        "train": {"batch_size": 256, "passes": 1, "device": "cpu"},
        "space": {"layers": [1, 2, 3], "mlp_width": [8, 16], "d": [4, 8]},
        "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
        "search": {"proposer": "sobol", "trials": 8},
        "launch": {"workers": 1},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    done = codesign("optimize", folder / "spec.yaml", "--study", folder / "study")
    assert done.returncode == 0, done.stderr
    return folder / "study"


def test_a_profile_makes_an_artifact_and_shows_how_well_it_predicts(tmp_path: Path) -> None:
    done = codesign("calibrate", "cpu", MEASURED, "--kind", "roofline", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    artifact = tmp_path / "roofline-cpu-fp32.json"
    assert str(artifact) in done.stdout
    assert f"hardware: {tmp_path / 'cpu.yaml'}" in done.stdout
    assert "before: fitted to some of these very measurements" in done.stdout
    assert "measured twice, steps differ by" in done.stdout
    scored = json.loads(artifact.read_text())["held_out"]["step"]
    [shown] = [
        line.split()
        for line in done.stdout.splitlines()
        if line.startswith("step") and "after" in line
    ]
    figures = ("mean_relative_error", "median_relative_error", "coverage")
    assert shown[2] == str(scored["rows"])
    assert shown[3:6] == [f"{100 * scored[name]:.1f}" for name in figures]


def test_a_device_is_better_known_after_its_calibration(tmp_path: Path) -> None:
    """A hardware file without artifact is a roofline of assumptions before."""
    values = yaml.safe_load((SHIPPED / "cpu.yaml").read_text())
    del values["artifact"]
    own = tmp_path / "mine.yaml"
    own.write_text(yaml.safe_dump(values))
    report = api.calibrate(str(own), [MEASURED], kind="roofline")
    assert report["artifact"] == str(tmp_path / "roofline-cpu-fp32.json")
    assert not report["before_saw_the_data"]
    assert report["noise"]["steps"]["pairs"] == 5
    for name, rows in (("step", 58), ("forward", 86)):
        for when in ("before", "after"):
            scored = report["totals"][name][when]
            assert scored["rows"] == rows
            assert 0 < scored["median_relative_error"] < scored["mean_relative_error"] < 1
            assert 0.5 < scored["kendall_tau"] < 1
    step = report["totals"]["step"]
    assert step["after"]["mean_relative_error"] < 0.7 * step["before"]["mean_relative_error"]


def test_the_trials_of_a_study_calibrate_whole_steps(study: Path, tmp_path: Path) -> None:
    runs = measured_runs(study)
    assert len(runs) == 8
    report = api.calibrate("cpu", [study], out=tmp_path)
    scored = report["totals"]["training"]
    assert scored["before"]["rows"] == scored["after"]["rows"] == 8
    artifact = json.loads(Path(report["artifact"]).read_text())
    # A step is a batch over the measured throughput; the factor is a median over such steps.
    seconds = sorted(256 / run.examples_per_s for run in runs)
    assert artifact["totals"]["training"]["rows"] == len(seconds)
    assert artifact["data"][-1] == {"studies": [str(study)], "runs": 8}
    # What the profile gave stays: whole trials say nothing of single operations.
    shipped = json.loads((SHIPPED.parent / "artifacts/roofline-cpu-fp32.json").read_text())
    assert artifact["kinds"] == shipped["kinds"]
    assert artifact["totals"]["step"] == shipped["totals"]["step"]
    best = study / "best.yaml"
    told = codesign("cost", best, "--hardware", report["hardware"], "--json")
    assert told.returncode == 0, told.stderr
    rate = json.loads(told.stdout)["predicted"]["examples_per_s"]
    assert "8 steps" in rate["label"]
    assert 256 / seconds[-1] / 2 < rate["value"] < 256 / seconds[0] * 2


def test_a_study_on_another_device_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trial 0: ran on cpu; h100-sxm is NVIDIA H100"):
        api.calibrate("h100-sxm", [study], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_holds_no_measurement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        api.calibrate("cpu", [tmp_path])
    profile = tmp_path / "own.csv"
    profile.write_text(MEASURED.read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="nothing was measured in fp32"):
        api.calibrate("cpu", [profile], out=tmp_path)


def test_too_little_to_fit_anything_replaces_no_model(tmp_path: Path) -> None:
    table, out = tmp_path / "own.csv", tmp_path / "out"
    rows = [f"linear,1,{64 * i},64,64,{i}" for i in range(1, 8)]
    table.write_text("\n".join(["op,B,M,N,K,latency_ms", *rows]) + "\n")
    with pytest.raises(ConfigError, match=r"7 operations of one kind and 0 steps.*a fit needs 8"):
        api.calibrate("cpu", [table], out=out)
    assert not out.exists()


def test_what_is_given_twice_is_refused(study: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.csv"
    again.write_bytes(MEASURED.read_bytes())
    with pytest.raises(ConfigError, match=rf"holds what {MEASURED} holds") as caught:
        api.calibrate("cpu", [MEASURED, again], out=tmp_path / "out")
    assert caught.value.where == str(again)
    with pytest.raises(ConfigError, match="is given twice"):
        api.calibrate("cpu", [study, study.parent / "." / study.name], out=tmp_path / "out")
