"""Artifacts are written whole, named by a hardware file, and never overwritten."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codesign.errors import ConfigError
from cost_models.artifacts import cost_model
from cost_models.calibrate.artifact import write
from cost_models.hardware import load_hardware

CONTENT: dict[str, Any] = {
    "kind": "roofline", "device": "a100", "precision": "fp32", "features": [], "totals": {},
    "kinds": {"gemm": {"utilisation": 0.7, "overhead_s": 1e-5, "sigma": 0.2, "rows": 9}},
}  # fmt: skip
A100 = load_hardware("a100")


def test_a_shipped_device_gets_a_hardware_file_that_names_the_artifact(tmp_path: Path) -> None:
    written = write(CONTENT, A100, tmp_path)
    assert written["kept"] is None
    own = load_hardware(str(written["hardware"]))
    assert own.flop_per_s == A100.flop_per_s
    assert own.artifact == {"fp32": str(tmp_path / "roofline-a100-fp32.json")}
    assert "9 measured operations" in cost_model(own, "fp32").label


def test_the_artifact_before_keeps_its_content_under_another_name(tmp_path: Path) -> None:
    first = write(CONTENT, A100, tmp_path)["artifact"]
    assert first is not None
    before = first.read_bytes()
    assert write(CONTENT, A100, tmp_path)["kept"] is None
    kept = write({**CONTENT, "features": ["more"]}, A100, tmp_path)["kept"]
    assert kept is not None
    assert kept.read_bytes() == before
    assert json.loads(first.read_text())["features"] == ["more"]


def test_a_file_of_ones_own_keeps_its_comments_and_its_other_artifacts(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = Path(A100.path).read_text()
    path.write_text(f"# mine\n{text}artifact:\n  bf16: other.json\n  # a remark\n")
    write(CONTENT, load_hardware(str(path)), None)
    lines = path.read_text().splitlines()
    assert lines[0] == "# mine"
    assert lines[-1] == "artifact: {bf16: other.json, fp32: roofline-a100-fp32.json}"
    assert load_hardware(str(path)).artifact["fp32"] == str(tmp_path / "roofline-a100-fp32.json")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name a folder that can be written with --out"):
        write(CONTENT, A100, tmp_path / "file")


WRITER = """
import itertools, json, sys
from pathlib import Path
from cost_models.calibrate.artifact import write
from cost_models.hardware import load_hardware
content = json.loads(sys.argv[1])
for number in itertools.count():
    write({**content, "features": [f"{number % 2}" * 200_000]}, load_hardware("a100"),
          Path(sys.argv[2]))
    print(number, flush=True)
"""


def test_an_artifact_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    for kill in range(3):
        command = [sys.executable, "-c", WRITER, json.dumps(CONTENT), str(tmp_path)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 2 + 3 * kill:
                writer.send_signal(signal.SIGKILL)
                break
        writer.wait()
        writer.stdout.close()
        found = json.loads((tmp_path / "roofline-a100-fp32.json").read_text())
        assert len(found["features"][0]) == 200_000
        assert load_hardware(str(tmp_path / "a100.yaml")).artifact
