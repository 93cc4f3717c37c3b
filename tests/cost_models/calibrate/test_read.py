"""Files that cannot be fitted to are refused by name, row and fix."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from codesign.errors import ConfigError
from cost_models.calibrate.read import read_files
from cost_models.hardware import ARTIFACTS, load_hardware
from cost_models.profile.record import COLUMNS

MEASURED = ARTIFACTS.parent / "measurements/cpu-epyc-2-threads-onednn.csv"
CPU, H100 = load_hardware("cpu"), load_hardware("h100-sxm")
SMALL = "op,B,M,N,K,latency_ms\nbmm,1,2,3,4,5\nlinear,2,3,4,5,0.5\n"


def changed(path: Path, column: str, value: str, row: int) -> Path:
    """Copy the profile with another value in one column of its operation number `row`."""
    lines = list(csv.reader(MEASURED.read_text().splitlines()))
    own = [i for i, cells in enumerate(lines) if cells[0] == "op"][row]
    lines[own][COLUMNS.index(column)] = value
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return path


def test_products_of_a_table_are_read_as_canonical_operations(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text(SMALL)
    found = read_files([path], H100, "fp32").operations
    assert list(found.kind) == ["bmm", "gemm"]
    assert list(found.flop) == [2 * 2 * 3 * 4, 2 * 6 * 4 * 5]
    assert list(found.bytes) == [4 * (8 + 12 + 6), 4 * (30 + 20 + 24)]
    assert list(found.seconds) == [5e-3, 5e-4]
    assert len(read_files([path], H100, "bf16").operations) == 0


def test_a_profile_holds_operations_steps_and_rows_measured_twice() -> None:
    found = read_files([MEASURED], CPU, "fp32")
    assert len(found.operations) == 469 + 15 + 19
    assert sum(step.training.compile for step in found.steps) == 10
    assert all({"forward"} <= set(step.seconds) <= {"forward", "step"} for step in found.steps)
    assert {name: len(logs) for name, logs in found.repeats.items()} == {
        "operations": 15,
        "steps": 5,
    }
    assert found.torch == {"2.13.0+cpu"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("op,B,M,N,K,latency_ms\nbmm,1,2,3,4,x\n", "products.csv:2"),
        ("op,B,M,N,K,latency_ms\nbmm,1,2,3,4,5\nbmm,1,2,3,4,-5\n", "products.csv:3"),
        ("op,B,M,N,K,latency_ms\nbmm,1,2,3,4,nan\n", "latency_ms"),
        ("op,B,M,N,K\nbmm,1,2,3,4\n", "has no measured row"),
        (",".join(COLUMNS[:-1]) + "\n", "is a profile of another version"),
    ],
)
def test_a_file_that_is_no_table_of_measurements_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "products.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_files([path], H100, "fp32")
    assert said in str(error.value)
    assert "products.csv" in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv: cannot be read"):
        read_files([tmp_path / "gone.csv"], H100, "fp32")


@pytest.mark.parametrize("value", ["nan", "0", "-1", "inf"])
def test_a_latency_that_cannot_be_is_named_by_row(tmp_path: Path, value: str) -> None:
    path = changed(tmp_path / "own.csv", "median_ms", value, 7)
    line = [i for i, text in enumerate(MEASURED.read_text().splitlines(), 1)
            if text.startswith("op,")][7]  # fmt: skip
    with pytest.raises(ConfigError) as error:
        read_files([path], CPU, "fp32")
    assert f"own.csv:{line}" in str(error.value)
    assert "must be finite and > 0" in str(error.value)


def test_measurements_of_another_device_or_version_are_refused_unless_accepted(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="was measured on AMD EPYC, 2 threads"):
        read_files([MEASURED], H100, "fp32")
    assert len(read_files([MEASURED], H100, "fp32", accept_mismatch=True).steps) > 50
    other = tmp_path / "other.csv"
    other.write_text(MEASURED.read_text().replace("2.13.0+cpu", "2.9.0+cpu"))
    with pytest.raises(ConfigError, match=r"several versions: .*2\.13\.0\+cpu.*2\.9\.0\+cpu"):
        read_files([MEASURED, other], CPU, "fp32")
    both = read_files([MEASURED, other], CPU, "fp32", accept_mismatch=True)
    assert both.torch == {"2.13.0+cpu", "2.9.0+cpu"}
