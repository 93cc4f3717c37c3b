"""Devices as data: the shipped files are whole, a faulty one is refused by file and key."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign.errors import ConfigError
from cost_models.artifacts import cost_model
from cost_models.hardware import ARTIFACTS, SHIPPED, load_hardware, reported_as, shipped
from cost_models.profile.record import read

GOOD: dict[str, Any] = yaml.safe_load((SHIPPED / "a100.yaml").read_text())


def written(tmp_path: Path, values: Any) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_the_named_devices_are_shipped_with_a_source_for_each_figure() -> None:
    assert shipped() == ["a100", "cpu", "h100-pcie", "h100-sxm", "h200"]
    for name in shipped():
        device = load_hardware(name)
        figures = [v for v in vars(device).values() if hasattr(v, "source")]
        assert len(figures) == 10
        assert all(figure.source for figure in [*figures, *device.flop_per_s.values()])
        assert {device.network_bytes_per_s.origin, device.network_latency_s.origin} == {"modelled"}  # type: ignore[union-attr]
        # Without sparsity: twice of it would be the classic wrong denominator of MFU.
        assert device.peak_flop_per_s("fp32") <= 67e12


def test_figures_of_the_cpu_are_those_of_its_measured_ceilings() -> None:
    rows = read(SHIPPED.parent / "measurements/cpu-epyc-2-threads-onednn.csv")
    ceilings = [(c.kind, r) for c, r in rows if c.section == "ceiling" and c.precision == "fp32"]
    gemm = max(r.flop / r.median_ms * 1e3 for kind, r in ceilings if kind == "gemm")
    launch_s = min(r.median_ms / 1e3 for kind, r in ceilings if kind == "launch")
    copies = [r.bytes / r.median_ms * 1e3 for kind, r in ceilings if kind == "copy"]
    device = load_hardware("cpu")
    assert device.peak_flop_per_s("fp32") == pytest.approx(gemm, rel=0.05)
    assert device.launch_s.value == pytest.approx(launch_s, rel=0.05)
    assert min(copies) * 0.95 < device.bytes_per_s.value < max(copies) * 1.05


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'h100-sxm'"):
        load_hardware("h100-sxn")
    with pytest.raises(ConfigError, match="one of a100, cpu"):
        load_hardware("mi300x")
    with pytest.raises(ConfigError, match=r"no/such\.yaml: cannot be read"):
        load_hardware("no/such.yaml")


def test_a_file_without_links_is_whole_and_one_with_a_faulty_link_is_refused(
    tmp_path: Path,
) -> None:
    links = [key for key in GOOD if key.startswith(("link_", "network_", "devices_"))]
    alone = {key: value for key, value in GOOD.items() if key not in links}
    device = load_hardware(written(tmp_path, alone))
    assert (device.link_bytes_per_s, device.devices_per_node) == (None, None)
    broken = {**GOOD, "link_bytes_per_s": {**GOOD["link_bytes_per_s"], "value": -1}}
    with pytest.raises(ConfigError, match=r"link_bytes_per_s.value is -1; must be a finite"):
        load_hardware(written(tmp_path, broken))


def test_links_are_one_direction_of_the_printed_rates_and_bf16_twice_tf32() -> None:
    """NVIDIA prints NVLink's two directions together: 900 GB/s of an H100, 600 of an A100."""
    for name, both_bytes_per_s in (("h100-sxm", 900e9), ("h200", 900e9), ("a100", 600e9)):
        device = load_hardware(name)
        assert device.link_bytes_per_s is not None
        assert 2 * device.link_bytes_per_s.value == both_bytes_per_s
        ratio = device.peak_flop_per_s("bf16") / device.peak_flop_per_s("tf32")
        assert ratio == pytest.approx(2, rel=1e-3)


def test_a_gpu_is_found_by_the_name_that_torch_has_for_it() -> None:
    found = reported_as("NVIDIA A100-SXM4-80GB")
    assert found is not None
    assert found.name == "a100"
    assert reported_as("Tesla V100-SXM2-16GB") is None


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("value", [0, -1.0, NAN, INFINITE, "fast", True, None])
@pytest.mark.parametrize("key", ["bytes_per_s", "launch_s", "flop_per_s.fp32"])
def test_a_figure_that_cannot_be_is_refused_by_file_and_key(
    tmp_path: Path, key: str, value: Any
) -> None:
    values = copy.deepcopy(GOOD)
    section, _, precision = key.partition(".")
    entry = values[section][precision] if precision else values[section]
    entry["value"] = value
    path = written(tmp_path, values)
    with pytest.raises(ConfigError) as error:
        load_hardware(path)
    assert error.value.where == path
    assert error.value.what.startswith(f"{key}.value is {value!r}; must be a finite number > 0")


@pytest.mark.parametrize("value", ["2001-99-99", "!!timestamp x", "!!int x", "!!int ''", "[*a]"])
def test_a_value_that_yaml_cannot_make_is_refused_by_file(tmp_path: Path, value: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nlaunch_s: {{value: {value}}}\n")
    with pytest.raises(ConfigError, match="cannot be read") as error:
        load_hardware(str(path))
    assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("launch_s", 10**400, "a finite number > 0"),
        ("multiprocessors", 0.5, "a whole number"),
        ("devices_per_node", 7.5, "a whole number"),
    ],
)
def test_numbers_that_no_float_holds_and_parts_of_devices_are_refused(
    tmp_path: Path, key: str, value: float, allowed: str
) -> None:
    entry = {"value": value, "origin": "assumed", "source": "a slip"}
    with pytest.raises(ConfigError, match=rf"{key}\.value is .*; must be {allowed}"):
        load_hardware(written(tmp_path, {**GOOD, key: entry}))


def test_all_mistakes_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    values = copy.deepcopy(GOOD)
    del values["memory_bytes"]
    values["flop_per_s"]["fp8"] = values["flop_per_s"]["fp32"]
    values["bytes_per_s"] = {"value": 1e12, "origin": "guessed", "source": ""}
    values["speed"] = 3
    values["artifact"] = {"fp32": 5}
    path = written(tmp_path, values)
    with pytest.raises(ConfigError) as error:
        load_hardware(path)
    lines = str(error.value).splitlines()[:-1]
    assert all(line.startswith(f"{path}: ") for line in lines)
    starts = [line.removeprefix(f"{path}: ").partition(";")[0] for line in lines]
    assert starts == [
        "speed is unknown",
        "flop_per_s.fp8 is unknown",
        "bytes_per_s.origin is 'guessed'",
        "bytes_per_s.source is ''",
        "memory_bytes is missing",
        "artifact.fp32 is 5",
    ]
    with pytest.raises(ConfigError, match=r"is \[1\]; must be a mapping"):
        load_hardware(written(tmp_path, [1]))


def test_a_missing_rate_names_file_key_and_what_to_do() -> None:
    with pytest.raises(ConfigError) as error:
        cost_model(load_hardware("cpu"), "tf32")
    assert "cpu.yaml: flop_per_s.tf32 is missing" in str(error.value)
    assert "hardware.precision" in str(error.value)


def test_an_artifact_that_is_gone_is_missed_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, "artifact": {"fp32": "roofline-gone.json"}})
    with pytest.raises(ConfigError) as error:
        cost_model(load_hardware(path), "fp32")
    assert "roofline-gone.json cannot be read" in str(error.value)
    assert f"{path}: artifact.fp32" in str(error.value)
    assert "codesign calibrate" in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "learned"}', '{"kind": "roofline"}'])
def test_a_file_that_is_no_artifact_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "own.json").write_text(content)
    path = written(tmp_path, {**GOOD, "artifact": {"fp32": "own.json"}})
    with pytest.raises(ConfigError, match=r"own\.json: is no artifact"):
        cost_model(load_hardware(path), "fp32")


@pytest.mark.parametrize(
    ("device", "key", "value"),
    [
        ("cpu", "kind", "forest"),
        ("cpu", "precision", "bf16"),
        ("cpu", "kinds", []),
        ("cpu", "kinds.gemm.utilisation", NAN),
        ("cpu", "kinds.gemm.overhead_s", -1e-6),
        ("cpu", "kinds.gemm.sigma", "wide"),
        ("cpu", "kinds.gem", {}),
        ("cpu", "kinds.gemm.utilization", 0.5),
        ("cpu", "totals", None),
        ("cpu", "totals.step.factor", 0),
        ("cpu", "totals.step.correction.low", 10**400),
        ("cpu", "totals.step.correction.weights", {}),
        ("cpu", "memory.sigma", INFINITE),
        ("cpu", "data", [5]),
        ("h100-sxm", "products.law.best", True),
        ("h100-sxm", "products.members", []),
        ("h100-sxm", "products.members", [["+1", "c0"]]),
        ("h100-sxm", "products.thresholds", ["0.5 nan"]),
        ("h100-sxm", "products.spread.low.gemm", [0.0, 9.0]),
    ],
)
def test_what_cannot_be_in_an_artifact_is_named_with_file_and_key(
    tmp_path: Path, device: str, key: str, value: Any
) -> None:
    shipped = load_hardware(device)
    content = json.loads(Path(shipped.artifact["fp32"]).read_text())
    *sections, last = key.split(".")
    changed = content
    for section in sections:
        changed = changed[section]
    changed[last] = value
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as error:
        cost_model(dataclasses.replace(shipped, artifact={"fp32": str(path)}), "fp32")
    assert f"{path}: is no artifact: " in str(error.value)
    assert key in str(error.value)

    # Cut short, and with studies behind it, which have no checksum.
    content = json.loads(Path(shipped.artifact["fp32"]).read_text())
    content["data"].append({"studies": ["mine"], "runs": 8})
    path.write_text(json.dumps(content))
    assert cost_model(dataclasses.replace(shipped, artifact={"fp32": str(path)}), "fp32")
    path.write_text(json.dumps(content)[:-300])
    with pytest.raises(ConfigError, match="is no artifact"):
        cost_model(dataclasses.replace(shipped, artifact={"fp32": str(path)}), "fp32")


def test_an_artifact_beside_ones_own_file_comes_before_a_shipped_one(tmp_path: Path) -> None:
    fitted = json.loads((ARTIFACTS / "roofline-cpu-fp32.json").read_text())
    fitted["kinds"] = {"gemm": {**fitted["kinds"]["gemm"], "rows": 7}}
    fitted["totals"] = {}
    (tmp_path / "roofline-cpu-fp32.json").write_text(json.dumps(fitted))
    path = written(tmp_path, {**GOOD, "artifact": {"fp32": "roofline-cpu-fp32.json"}})
    assert "calibrated on 7 measured operations" in cost_model(load_hardware(path), "fp32").label
