"""`codesign profile` and `python -m cost_models.profile`, as a person or a script runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cost_models.profile.__main__ import main
from cost_models.profile.record import read
from tests.cost_models.profile.runs import assert_whole
from tests.support.command import codesign


def test_codesign_profile_prints_what_was_measured_and_a_second_run_continues(
    tmp_path: Path,
) -> None:
    out = tmp_path / "p.csv"
    common = ("profile", "--out", out, "--tables", "--device", "cpu")
    done = codesign(*common, "--minutes", 0.08)
    assert done.returncode == 0, done.stderr
    assert f"{len(read(out))} rows in" in done.stdout
    for name in ("ceiling", "table", "fp32_flop_per_s"):
        assert name in done.stdout
    done = codesign(*common, "--minutes", 0.02, "--json")
    summary = json.loads(done.stdout)
    rows = assert_whole(out, runs=2)
    assert (summary["file"], summary["run"], summary["rows"]) == (str(out), 2, len(rows))
    of_this_run = [case.section for case, result in rows if result.run == 2]
    assert summary["measured"].get("table", 0) == of_this_run.count("table")
    assert set(summary["ceilings"]) <= {
        "fp32_flop_per_s", "bf16_flop_per_s", "copy_bytes_per_s", "eager_launch_us",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--minutes", "0"), "minutes is 0.0; must be > 0"),
        (("--device", "tpu"), "'tpu' is not one of 'auto', 'cuda', 'cpu'"),
        ((), "Missing option '--out'"),
    ],
)
def test_what_cannot_be_ends_with_code_2_and_no_file(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    given = (*arguments, "--out", str(out)) if arguments else ()
    done = codesign("profile", *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_shapes_that_are_not_there_end_with_code_2_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shapes = tmp_path / "p.csv", tmp_path / "none.csv"
    assert main(["--out", str(out), "--shapes", str(shapes)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {shapes}: cannot be read")
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_ends_with_code_2_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.csv"
    assert main(["--out", str(out), "--device", "cuda"]) == 2
    assert "sees no GPU" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_no_profile_ends_with_code_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.csv"
    out.write_text("a,b\n1,2\n")
    assert main(["--out", str(out), "--device", "cpu"]) == 5
    captured = capsys.readouterr()
    done = codesign("profile", "--out", out, "--device", "cpu")
    assert (done.returncode, done.stdout, captured.out) == (5, "", "")
    for stderr in (captured.err, done.stderr):
        assert f"{out}: is no profile of this version" in stderr
        assert "Traceback" not in stderr
    assert out.read_text() == "a,b\n1,2\n"
