"""The seven Wukong rows of the paper's Table 5 beside our counts: `python -m cost_models.table5`.

Published are l, n = n_F = n_L, k, the MLP, and GFLOP/example; assumed are n_0 = 720 input rows of
width d = 160 (section 5: 720 features), no bottom MLP, and a head of the same 3×h as the FMB MLPs.
The paper prints neither its bottom nor its head MLP, so an exact match cannot be expected.
"""

from __future__ import annotations

from dataclasses import dataclass

from cost_models import exact
from wukong.schema import CategoricalFeature, InputSchema

N_0, D, MLP_DEPTH = 720, 160, 3


@dataclass(frozen=True)
class PublishedRow:
    """One row of Table 5; `parameters` includes tables of about 627.65e9 weights."""

    layers: int
    n: int
    k: int
    mlp_width: int
    gflop_per_example: float
    parameters: float


ROWS = (
    PublishedRow(2, 8, 24, 2048, 0.53, 627.74e9),
    PublishedRow(4, 32, 24, 2048, 1.25, 627.82e9),
    PublishedRow(8, 32, 24, 2048, 2.12, 627.95e9),
    PublishedRow(8, 48, 48, 4096, 5.6, 628.46e9),
    PublishedRow(8, 96, 96, 8192, 22.23, 630.96e9),
    PublishedRow(8, 96, 96, 16384, 61.0, 636.99e9),
    PublishedRow(8, 192, 192, 16384, 108.0, 644e9),
)


def config_fields(row: PublishedRow) -> dict[str, int]:
    """Return the fields of WukongConfig that a row stands for, under the assumptions above."""
    return {
        "layers": row.layers,
        "n_F": row.n,
        "n_L": row.n,
        "k": row.k,
        "mlp_depth": MLP_DEPTH,
        "mlp_width": row.mlp_width,
        "head_depth": MLP_DEPTH,
        "head_width": row.mlp_width,
        "d": D,
    }


def our_count(row: PublishedRow) -> dict[str, float]:
    """Count a row under the assumptions above."""
    schema = InputSchema(
        categorical=tuple(CategoricalFeature(name=f"f{i}", cardinality=1) for i in range(N_0))
    )
    counted = exact.costs(config_fields(row), schema)
    return {name: float(values.item()) for name, values in counted.items()}


def main() -> None:
    """Print the comparison."""
    print(__doc__)
    print(" l    n    k     MLP   published    ours   error   dense parameters (ours)")
    for row in ROWS:
        ours = our_count(row)
        error = ours["gflop_per_example"] / row.gflop_per_example - 1
        print(
            f"{row.layers:2} {row.n:4} {row.k:4} 3×{row.mlp_width:<6} {row.gflop_per_example:8.2f}"
            f" {ours['gflop_per_example']:9.2f}  {error:+5.0%}"
            f"   {ours['dense_parameters'] / 1e9:.3f}e9"
        )


if __name__ == "__main__":
    main()
