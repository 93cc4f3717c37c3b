"""Shapes worth measuring: Wukong designs, in an order in which any first part covers the space.

N designs. A GPU's space reaches from 0.05 to 100 GFLOP/example and holds the rows of the paper's
Table 5; a CPU's ends where a step takes seconds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from cost_models import exact, table5
from cost_models.profile.sampling import spread
from wukong.schema import CategoricalFeature, InputSchema

Array = np.ndarray[Any, Any]
_CANDIDATES = 12_000
# Bytes a weight: it and its gradient, and for Adam FP32 copies (of BF16 ones) and two moments.
_HELD_BYTES = {False: {"adam": 16, "none": 8}, True: {"adam": 20, "none": 4}}


@dataclass(frozen=True, kw_only=True)
class StepDesign:
    """What a step trains, as it stands in a case's `design`.

    Attributes:
        features: categorical features, of one row of X_0 each.
        dense: dense features; 0 leaves the bottom MLP away.
        table_rows: rows of each feature's table; 0 leaves lookups out of the step.
        optimizer: `adam`, or `none`: gradients are thrown away, as if their optimizer lived on
            other devices. Shapes whose optimizer state does not fit are measured so.
        config: knobs of `WukongConfig`.
    """

    features: int
    dense: int = 0
    table_rows: int = 0
    optimizer: Literal["adam", "none"] = "adam"
    config: dict[str, Any]

    def to_json(self) -> str:
        """Return the text that stands in a case; equal designs give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> StepDesign:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    @property
    def schema(self) -> InputSchema:
        """The features; tables are apart, so their cardinality is nominal."""
        return _schema(self.features, self.dense)

    def flop(self, batch: int) -> int:
        """Exact count of one step (see `cost_models.exact`)."""
        return round(self._count("gflop_per_example") * 1e9 * batch)

    @property
    def parameters(self) -> int:
        """Weights outside the tables, exact."""
        return round(self._count("dense_parameters"))

    def held_bytes(self, precision: str) -> int:
        """Weights, gradients and optimizer state of the dense part, and tables, roughly."""
        each = _HELD_BYTES[precision == "bf16"][self.optimizer]
        tables = 4 * self.features * self.table_rows * self.config["d"]
        return each * self.parameters + tables

    def _count(self, name: str) -> float:
        return float(exact.costs(self.config, self.schema)[name][0])


@cache
def _schema(features: int, dense: int) -> InputSchema:
    return InputSchema(
        categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=1) for i in range(features)),
        dense=tuple(f"x{i}" for i in range(dense)),
    )


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a kind of device is measured on.

    Attributes:
        gflop: least and most GFLOP/example of a design.
        batches: batch sizes.
        flop_per_s: of each precision, roughly: only to leave out what would take too long.
        step_s: most seconds that a step may take at that rate.
        knobs: choices of `features`, `dense`, and of fields of `WukongConfig`.
        published: whether the designs of Table 5 come first.
    """

    gflop: tuple[float, float]
    batches: tuple[int, ...]
    flop_per_s: Mapping[str, float]
    step_s: float
    knobs: Mapping[str, tuple[Any, ...]]
    published: bool


_GPU = Space(
    gflop=(0.05, 100.0),
    batches=tuple(2**i for i in range(8, 17)),
    flop_per_s={"bf16": 300e12, "tf32": 150e12, "fp32": 40e12},
    step_s=0.8,
    knobs={
        "features": (26, 39, 64, 100, 200, 400, 720),
        "dense": (0, 13),
        "layers": (1, 2, 3, 4, 6, 8, 12),
        "n_F": (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192),
        "n_L": (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192),
        "k": (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192),
        "mlp_depth": (1, 2, 3, 4),
        "mlp_width": (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384),
        "d": (16, 32, 48, 64, 80, 96, 128, 160, 192, 256),
        "head_depth": (1, 2, 3),
        "head_width": (256, 512, 1024, 2048, 4096),
        "mlp_norm": ("none", "none", "none", "batch"),
    },
    published=True,
)
_CPU = Space(
    gflop=(0.0005, 0.5),
    batches=tuple(2**i for i in range(6, 13)),
    flop_per_s={"fp32": 60e9, "bf16": 120e9},
    step_s=1.0,
    knobs={
        "features": (5, 10, 26, 39, 64, 100),
        "dense": (0, 13),
        "layers": (1, 2, 3, 4),
        "n_F": (2, 3, 4, 6, 8, 12, 16, 24, 32, 48),
        "n_L": (2, 3, 4, 6, 8, 12, 16, 24, 32, 48),
        "k": (4, 6, 8, 12, 16, 24, 48),
        "mlp_depth": (1, 2, 3),
        "mlp_width": (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048),
        "d": (8, 16, 32, 64, 128),
        "head_depth": (1, 2, 3),
        "head_width": (64, 128, 256, 512),
        "mlp_norm": ("none", "none", "none", "batch"),
    },
    published=False,
)
SPACES = {"cuda": _GPU, "cpu": _CPU}


def designs(space: Space, count: int, rng: np.random.Generator) -> list[StepDesign]:
    """Return up to `count` designs within the space's GFLOP, the paper's first.

    The rest is drawn at random; any first part of it is even over the logarithm of GFLOP.
    """
    drawn = {name: rng.choice(np.array(v), _CANDIDATES) for name, v in space.knobs.items()}
    gflop = _gflop(drawn)
    low, high = space.gflop
    drawn = {name: values[(low <= gflop) & (gflop <= high)] for name, values in drawn.items()}
    gflop = gflop[(low <= gflop) & (gflop <= high)]
    order = spread(np.log2(gflop), count)
    found = [_design({name: values[i].item() for name, values in drawn.items()}) for i in order]
    published = [_published(row) for row in table5.ROWS] if space.published else []
    return [*published, *found][:count]


def _design(knobs: dict[str, Any]) -> StepDesign:
    return StepDesign(features=knobs.pop("features"), dense=knobs.pop("dense"), config=knobs)


def _published(row: table5.PublishedRow) -> StepDesign:
    return StepDesign(features=table5.N_0, config=table5.config_fields(row))


def _gflop(drawn: Mapping[str, Array]) -> Array:
    """GFLOP/example of each design, (N,)."""
    gflop = np.zeros(len(drawn["features"]))
    for features in np.unique(drawn["features"]):
        for dense in np.unique(drawn["dense"]):
            here = (drawn["features"] == features) & (drawn["dense"] == dense)
            schema = StepDesign(features=int(features), dense=int(dense), config={}).schema
            columns = {
                name: values[here]
                for name, values in drawn.items()
                if name not in ("features", "dense")
            }
            gflop[here] = exact.costs(columns, schema)["gflop_per_example"]
    return gflop
