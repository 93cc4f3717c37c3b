"""Devices as data: rates and sizes from YAML files, each figure with where it comes from.

`cost_models/hardware/NAME.yaml` are shipped; a path names a file of one's own in the same form.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from codesign.errors import ConfigError

Origin = Literal["published", "measured", "assumed", "modelled"]
Precision = Literal["fp32", "tf32", "bf16"]  # tf32: FP32 tensors whose products are rounded
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DTYPES: Mapping[Precision, str] = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16"}
ARTIFACTS = Path(str(resources.files("cost_models"))) / "artifacts"
SHIPPED = Path(str(resources.files("cost_models"))) / "hardware"
_FIGURES = ("bytes_per_s", "memory_bytes", "multiprocessors", "cache_bytes", "launch_s")
_BETWEEN_DEVICES = (
    "link_bytes_per_s",
    "link_latency_s",
    "network_bytes_per_s",
    "network_latency_s",
    "devices_per_node",
)
_COUNTS = ("multiprocessors", "devices_per_node")
_KEYS = ("name", "reported_as", "flop_per_s", *_FIGURES, *_BETWEEN_DEVICES, "artifact")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a device, finite and > 0.

    Attributes:
        origin: whether it is published by the maker, measured, assumed, or stands for a whole
            network in a model of it, whatever its source says of one port.
        source: the document or file it stands in, or the reason for assuming it.
    """

    value: float
    origin: Origin
    source: str


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One device.

    Attributes:
        path: the file that it was read from, for messages.
        reported_as: what torch calls it.
        flop_per_s: precision → peak of dense matrix products.
        bytes_per_s: of its main memory.
        memory_bytes: size of its main memory.
        multiprocessors: SMs of a GPU, threads of a CPU.
        cache_bytes: last level of cache.
        launch_s: least time of one operation.
        link_bytes_per_s: of one device to the others of its node, in one direction.
        network_bytes_per_s: of one device to other nodes, in one direction.
        link_latency_s, network_latency_s: of a message between neighbours, however small.
        devices_per_node: devices that these links join. A file may leave out these five.
        artifact: precision → the file of a fitted cost model; none where nothing was measured.
    """

    name: str
    path: str
    reported_as: str
    flop_per_s: Mapping[str, Figure]
    bytes_per_s: Figure
    memory_bytes: Figure
    multiprocessors: Figure
    cache_bytes: Figure
    launch_s: Figure
    artifact: Mapping[str, str]
    link_bytes_per_s: Figure | None = None
    link_latency_s: Figure | None = None
    network_bytes_per_s: Figure | None = None
    network_latency_s: Figure | None = None
    devices_per_node: Figure | None = None

    @property
    def is_cpu(self) -> bool:
        """Whether it is called `cpu`; steps of all others are held to hold what a GPU holds."""
        return self.name == "cpu"

    def peak_flop_per_s(self, precision: Precision) -> float:
        """Return the peak of dense products.

        Raises:
            ConfigError: the file has none for this precision.
        """
        if precision not in self.flop_per_s:
            known = ", ".join(self.flop_per_s)
            raise ConfigError(
                f"flop_per_s.{precision} is missing; the file has {known}",
                where=self.path,
                hint=f"add the rate to the file, or set hardware.precision to one of {known}",
            )
        return self.flop_per_s[precision].value


def is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    except OverflowError:
        return False


def shipped() -> list[str]:
    """Return the names of the devices that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_hardware(name: str) -> Hardware:
    """Read a device: one of `shipped()`, or the path of a YAML file.

    Raises:
        ConfigError: no such device or file, or a figure is missing or cannot be.
    """
    path = SHIPPED / f"{name}.yaml"
    if name not in shipped():
        if "/" not in name and not name.endswith((".yaml", ".yml")):
            close = difflib.get_close_matches(name, shipped(), n=1)
            known = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(shipped())}"
            raise ConfigError(f"hardware {name!r} is unknown; {known}, or the path of a YAML file")
        path = Path(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    # Values that are tagged, or look like a date, fail in other ways.
    except (OSError, ValueError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    mistakes = list(_mistakes(values))
    if mistakes:
        raise ConfigError(
            f"\n{path}: ".join(mistakes),
            where=str(path),
            hint=f"{SHIPPED / 'h100-sxm.yaml'} shows the form",
        )
    return Hardware(
        name=str(values["name"]),
        path=str(path),
        reported_as=str(values.get("reported_as", "")),
        flop_per_s={key: _figure(entry) for key, entry in values["flop_per_s"].items()},
        artifact=_artifacts(values.get("artifact", {}), path),
        **{key: _figure(values[key]) for key in (*_FIGURES, *_BETWEEN_DEVICES) if key in values},
    )


def reported_as(name: str) -> Hardware | None:
    """Return the shipped device that torch calls by this name, if there is one."""
    devices = (load_hardware(known) for known in shipped())
    return next((device for device in devices if device.reported_as == name), None)


def _figure(entry: Mapping[str, Any]) -> Figure:
    return Figure(value=float(entry["value"]), origin=entry["origin"], source=entry["source"])


def _artifacts(files: Mapping[str, str], path: Path) -> dict[str, str]:
    """Where a device's artifacts are: beside its own file, else among the shipped ones."""
    found = {}
    for precision, name in files.items():
        beside = path.parent / name
        found[precision] = str(beside if beside.exists() else ARTIFACTS / name)
    return found


def _mistakes(values: Any) -> Iterator[str]:
    if not isinstance(values, dict):
        yield f"is {values!r}; must be a mapping with {', '.join(_KEYS)}"
        return
    for key in values:
        if key not in _KEYS:
            yield f"{key} is unknown; known: {', '.join(_KEYS)}"
    if not isinstance(values.get("name"), str):
        yield f"name is {values.get('name')!r}; must be text"
    rates = values.get("flop_per_s")
    if not isinstance(rates, dict) or not rates:
        yield f"flop_per_s is {rates!r}; must be a mapping with {' or '.join(PRECISIONS)}"
    else:
        for precision, entry in rates.items():
            yield from _precision_mistakes("flop_per_s", precision)
            yield from _figure_mistakes(f"flop_per_s.{precision}", entry)
    for key in (*_FIGURES, *_BETWEEN_DEVICES):
        if key in values:
            yield from _figure_mistakes(key, values[key])
        elif key in _FIGURES:
            yield f"{key} is missing; must be a mapping with value, origin and source"
    yield from _artifact_mistakes(values.get("artifact", {}))


def _artifact_mistakes(files: Any) -> Iterator[str]:
    if not isinstance(files, dict):
        yield f"artifact is {files!r}; must be a mapping from precision to file"
        return
    for precision, name in files.items():
        yield from _precision_mistakes("artifact", precision)
        if not isinstance(name, str):
            yield f"artifact.{precision} is {name!r}; must be the name of a file"


def _precision_mistakes(key: str, precision: Any) -> Iterator[str]:
    if precision not in PRECISIONS:
        yield f"{key}.{precision} is unknown; must be one of {', '.join(PRECISIONS)}"


def _figure_mistakes(key: str, entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict) or set(entry) != {"value", "origin", "source"}:
        yield f"{key} is {entry!r}; must be a mapping with value, origin and source"
        return
    value, origin = entry["value"], entry["origin"]
    if not is_finite(value) or value <= 0:
        yield f"{key}.value is {value!r:.40}; must be a finite number > 0, such as 3.35e+12"
    elif key in _COUNTS and value != int(value):
        yield f"{key}.value is {value!r}; must be a whole number ≥ 1"
    if origin not in get_args(Origin):
        yield f"{key}.origin is {origin!r}; must be one of {', '.join(get_args(Origin))}"
    if not isinstance(entry["source"], str) or not entry["source"]:
        yield f"{key}.source is {entry['source']!r}; must say where the value comes from"
