"""Table backends side by side, and whole training steps against dense gradients of the tables.

26 one-hot features, batch 4096, uniform ids, row-wise Adagrad, FP32 but for `fused_fp16`, whose
weights are FP16. All candidates of a case are timed in turn, the best of all rounds counts: a
drift of the machine's speed strikes all alike. `floor_ms` is what a step has to move (ids, rows
looked up, vectors returned, their gradients; each touched row and its accumulator read and
written once) at the rate of a large copy, measured in the same run.

`reference` is torchrec's EmbeddingBagCollection with ordinary (dense) gradients and torchrec's own
RowWiseAdagrad; `by_feature` is the same, its output joined feature by feature, which in backward
fills a gradient of full size for each. Whole steps are those of one Wukong with Adam for the dense
part: with fused tables, and with each of these.

    python benchmarks/bench_tables.py [--rounds 15] [--out benchmarks/results/tables.json]
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchrec
from bench_train import FIELDS
from torch import Tensor, nn
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from wukong.data.batch import Batch
from wukong.device.heap import kept_heap
from wukong.embeddings import TableLayout, TableOptimizer, Tables, build_tables
from wukong.embeddings.torchrec_tables import DenseTables, keyed_jagged
from wukong.model import Wukong
from wukong.optim import OptimizerLike, build_optimizer
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import TableSpec, WukongConfig, table_specs

FEATURES, BATCH, BATCHES = 26, 4096, 8
VOCABULARIES, WIDTHS, THREADS = (5_000, 100_000), (16, 64), (1, 2)
LR = 0.01
ADAGRAD = TableOptimizer(name="rowwise_adagrad", lr=LR)
BACKENDS: Mapping[str, TableLayout] = {
    "plain": TableLayout(),
    "dense": TableLayout(),
    "fused": TableLayout(),
    "fused_fp16": TableLayout(precision="fp16"),
}
# By width.
SHAPES = {fields["d"]: WukongConfig(**fields) for fields in FIELDS.values()}
COPY_BYTES = 256 << 20


class ReferenceTables(DenseTables):
    """The collection, trained by torchrec's own optimizer for dense gradients."""

    def optimizer(self) -> OptimizerLike:
        """Build torchrec's RowWiseAdagrad over whole tables."""
        return RowWiseAdagrad(self.parameters(), lr=LR)


class ByFeatureTables(ReferenceTables):
    """The same, its output joined feature by feature."""

    def forward(self, batch: Batch) -> Tensor:
        """Pooled embeddings (B, W)."""
        pooled = self.collection(keyed_jagged(self.specs, batch))
        return torch.cat([pooled[spec.feature] for spec in self.specs], dim=1)


REFERENCES = {"reference": ReferenceTables, "by_feature": ByFeatureTables}


def references(specs: Sequence[TableSpec], weights: Mapping[str, Tensor]) -> dict[str, Tables]:
    found: dict[str, Tables] = {name: build(specs, ADAGRAD) for name, build in REFERENCES.items()}
    for tables in found.values():
        tables.load_weights(weights)
    return found


def schema(vocabulary: int) -> InputSchema:
    return InputSchema(
        categorical=tuple(
            CategoricalFeature(name=f"c{i}", cardinality=vocabulary) for i in range(FEATURES)
        )
    )


def draw_batches(vocabulary: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    shape = (FEATURES, BATCH)
    return [
        Batch(
            one_hot_BF=torch.randint(vocabulary, shape, generator=generator, dtype=torch.int32).t(),
            bag_values=torch.zeros(0, dtype=torch.int32),
            bag_lengths_FB=torch.zeros(0, BATCH, dtype=torch.int32),
            dense_BD=torch.zeros(BATCH, 0),
            label_BT=torch.randint(2, (BATCH, 1), generator=generator).float(),
        )
        for _ in range(BATCHES)
    ]


def all_tables(specs: Sequence[TableSpec]) -> dict[str, Tables]:
    found = {
        name: build_tables(
            name.removesuffix("_fp16"),
            specs,
            init_std=0.01,
            optimizer=ADAGRAD,
            seed=0,
            layout=layout,
        )
        for name, layout in BACKENDS.items()
    }
    return {**found, **references(specs, found["plain"].weights())}


def table_runs(specs: Sequence[TableSpec]) -> Iterator[tuple[str, Callable[[Batch], None]]]:
    """Yield (backend.what, what to time)."""
    gradient_BW = torch.randn(BATCH, sum(spec.width for spec in specs))
    for name, tables in all_tables(specs).items():
        optimizer = tables.optimizer()

        def forward(batch: Batch, tables: Tables = tables) -> None:
            with torch.no_grad():
                tables(batch)

        def step(
            batch: Batch, tables: Tables = tables, optimizer: OptimizerLike = optimizer
        ) -> None:
            optimizer.zero_grad()
            tables(batch).backward(gradient_BW)
            optimizer.step()

        yield f"{name}.forward", forward
        yield f"{name}.step", step


def training_run(model: nn.Module, tables: Tables) -> Callable[[Batch], None]:
    theirs = set(tables.parameters())
    dense = [weight for weight in model.parameters() if weight not in theirs]
    optimizers = [build_optimizer("adam", dense, lr=LR), tables.optimizer()]

    def step(batch: Batch) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        logit_BT = model(batch).view(BATCH, 1)
        F.binary_cross_entropy_with_logits(logit_BT, batch.label_BT).backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def whole_runs(
    shape: WukongConfig, inputs: InputSchema
) -> Iterator[tuple[str, Callable[[Batch], None]]]:
    """Yield (whole.tables, a training step of one Wukong with these tables)."""
    specs = table_specs(shape, inputs)
    fused = build_tables("fused", specs, init_std=0.01, optimizer=ADAGRAD, seed=0)
    for name, tables in {"fused": fused, **references(specs, fused.weights())}.items():
        torch.manual_seed(0)
        yield f"whole.{name}", training_run(Wukong(shape, inputs, tables), tables)


def best_ms(
    runs: Mapping[str, Callable[[Batch], None]], batches: Sequence[Batch], rounds: int
) -> dict[str, float]:
    """Milliseconds of the best round of each, all taking turns; the first round is a warm-up.

    One thread is timed as processor time, several by the clock.
    """
    now_s = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for i in range(rounds + 1):
        for name, run in runs.items():
            started_s = now_s()
            run(batches[i % len(batches)])
            if i:
                best[name] = min(best[name], 1e3 * (now_s() - started_s))
    return {name: round(ms, 2) for name, ms in best.items()}


def copy_bytes_per_s() -> float:
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)

    def copy() -> float:
        started = time.perf_counter()
        target.copy_(source)
        return time.perf_counter() - started

    return 2 * COPY_BYTES / min(copy() for _ in range(10))


def floors_ms(batches: Sequence[Batch], width: int, bytes_per_s: float) -> dict[str, float]:
    """Least milliseconds of a forward pass and of a step with FP32 weights."""
    vector_bytes, lookups = 4 * width, FEATURES * BATCH
    forward = lookups * (batches[0].one_hot_BF.element_size() + 2 * vector_bytes)
    rows = sum(len(column.unique()) for b in batches for column in b.one_hot_BF.t()) / len(batches)
    step = forward + lookups * vector_bytes + rows * 2 * (vector_bytes + 4)
    return {
        "forward": round(1e3 * forward / bytes_per_s, 2),
        "step": round(1e3 * step / bytes_per_s, 2),
    }


def measure(threads: int, vocabulary: int, width: int, rounds: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    inputs, batches = schema(vocabulary), draw_batches(vocabulary)
    bytes_per_s = copy_bytes_per_s()
    specs = table_specs(SHAPES[width], inputs)
    tables_ms = best_ms(dict(table_runs(specs)), batches, rounds)
    whole_ms = best_ms(dict(whole_runs(SHAPES[width], inputs)), batches, max(2, rounds // 3))
    return {
        "threads": threads,
        "vocabulary": vocabulary,
        "d": width,
        "copy_gb_per_s": round(bytes_per_s / 1e9, 1),
        "floor_ms": floors_ms(batches, width, bytes_per_s),
        "ms": {**tables_ms, **whole_ms},
        "times_fused": {
            name: {
                "step": round(tables_ms[f"{name}.step"] / tables_ms["fused.step"], 2),
                "whole": round(whole_ms[f"whole.{name}"] / whole_ms["whole.fused"], 2),
            }
            for name in REFERENCES
        },
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    default = Path(__file__).parent / "results" / "tables.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    cases = []
    for threads in THREADS:
        for vocabulary in VOCABULARIES:
            for width in WIDTHS:
                with kept_heap():  # as training runs
                    cases.append(measure(threads, vocabulary, width, options.rounds))
                print(json.dumps(cases[-1]), flush=True)
    result = {
        "what": "milliseconds, 26 one-hot features, batch 4096, row-wise Adagrad, best round",
        "rounds": options.rounds,
        "cases": cases,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "torchrec": torchrec.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
