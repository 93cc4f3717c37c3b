"""Training steps of Wukong against three public layouts of it, in plain PyTorch, in one run.

A step: forward, log loss, backward, one fused Adam over all weights. All candidates start from the
same weights, compute the same arithmetic (checked before anything is timed), see the same batch,
keep the memory that they free (`wukong.device.heap`) and are timed in turn, so that a drift of the
machine's speed strikes all alike. Each layout counts with the faster of eager and compiled. Floors:
the flop of the step at the rate of one large product, and the bytes of its operations at the rate
of a copy.

    python benchmarks/bench_train.py [--device cuda] [--compile no] [--out results/train.json]

On a CPU: FP32, one thread by processor time and two by the clock, one process for each. On a GPU
(untested on GPU): FP32, TF32 and BF16 by the clock, with the MFU against a hardware file's peak.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from layouts import cpu_model
from public_layouts import NAMES, PublicLayout
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cost_models import exact
from cost_models.hardware import load_hardware
from cost_models.operations.wukong_ops import operations
from wukong.data.batch import Batch
from wukong.device.heap import kept_heap
from wukong.embeddings import TableOptimizer, build_tables
from wukong.linear import Linear
from wukong.model import Wukong
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import WukongConfig, table_specs

BATCH, FEATURES, VOCABULARY = 4096, 10, 5000
FIELDS: dict[str, dict[str, int]] = {
    "A": {"layers": 2, "n_F": 8, "n_L": 8, "k": 8, "mlp_depth": 2, "mlp_width": 128, "d": 16,
          "head_depth": 2, "head_width": 128},
    "B": {"layers": 4, "n_F": 16, "n_L": 16, "k": 16, "mlp_depth": 2, "mlp_width": 256, "d": 64,
          "head_depth": 2, "head_width": 256},
}  # fmt: skip
SCHEMA = InputSchema(
    categorical=tuple(
        CategoricalFeature(name=f"c{i}", cardinality=VOCABULARY) for i in range(FEATURES)
    )
)
Step = Callable[[], object]


class LookedUp(nn.Module):
    """What tables return, with a gradient and without tables."""

    def __init__(self, x_BW: Tensor) -> None:
        super().__init__()
        self.x_BW = nn.Parameter(x_BW)

    def forward(self, batch: Batch) -> Tensor:  # noqa: ARG002
        """Return (B, W)."""
        return self.x_BW.view_as(self.x_BW)


def candidates(fields: dict[str, int], *, tables: bool, batch: Batch) -> dict[str, nn.Module]:
    """Build ours and the three layouts with equal weights; raise where their logits differ."""
    config = WukongConfig(**fields)
    torch.manual_seed(0)
    own: nn.Module = LookedUp(0.1 * torch.randn(BATCH, FEATURES * config.d))
    if tables:
        optimizer = TableOptimizer(name="adam", lr=1e-3)
        specs = table_specs(config, SCHEMA)
        own = build_tables("plain", specs, init_std=0.05, optimizer=optimizer, seed=0)
    ours = Wukong(config, SCHEMA, own).to(batch.label_BT.device)
    table_FVD = list(own.weights().values()) if tables else None  # type: ignore[operator]
    found: dict[str, nn.Module] = {"ours": ours}
    for name in NAMES:
        found[name] = PublicLayout(name, ours, table_FVD).to(batch.label_BT.device)
        torch.testing.assert_close(found[name](batch), ours(batch), rtol=1e-4, atol=1e-4)
    return found


def random_batch(device: str) -> Batch:
    drawn = torch.Generator().manual_seed(1)
    ids_FB = torch.randint(VOCABULARY, (FEATURES, BATCH), generator=drawn, dtype=torch.int32)
    nothing = torch.zeros(0, dtype=torch.int32, device=device)
    return Batch(
        one_hot_BF=ids_FB.to(device).T,
        bag_values=nothing,
        bag_lengths_FB=nothing.view(0, 1).expand(0, BATCH),
        dense_BD=torch.zeros(BATCH, 0, device=device),
        label_BT=torch.randint(2, (BATCH, 1), generator=drawn).float().to(device),
    )


def stepper(model: nn.Module, batch: Batch, autocast: Callable[[], Any]) -> Step:
    """Return a function that trains one step."""
    weights = [w for name, w in model.named_parameters() if name != "tables.x_BW"]
    optimizer = torch.optim.Adam(weights, lr=1e-5, fused=True)

    def step() -> None:
        model.zero_grad()
        with autocast():
            logit_BT = model(batch)
        binary_cross_entropy_with_logits(logit_BT.float(), batch.label_BT).backward()
        optimizer.step()

    return step


def milliseconds(
    steps: dict[str, Step], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Time all in turn, `repeats` times, after two rounds that warm up (and compile)."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(repeats + 2):
        for name, step in steps.items():
            start = clock()
            step()
            if round_ >= 2:
                taken[name].append(1e3 * (clock() - start))
    return taken


def measure(fields: dict[str, int], *, tables: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Time every candidate at one shape; ratios are layout over ours, the faster mode of each."""
    device, precision = options.device, options.precision
    torch.compiler.reset()  # else what an earlier case compiled counts against dynamo's limits
    batch = random_batch(device)
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    if precision == "bf16":
        autocast = lambda: torch.autocast(device, dtype=torch.bfloat16)  # noqa: E731
    steps: dict[str, Step] = {}
    for name, model in candidates(fields, tables=tables, batch=batch).items():
        steps[f"{name} eager"] = stepper(model, batch, autocast)
        if options.compile == "yes":
            copied = copy.deepcopy(model)
            copied.compile()
            steps[f"{name} compiled"] = stepper(copied, batch, autocast)
    taken = milliseconds(steps, options.repeats, clock_of(options))
    least = {name: min(times) for name, times in taken.items()}
    result: dict[str, Any] = {
        "min_ms": {name: round(ms, 2) for name, ms in least.items()},
        "median_ms": {name: round(statistics.median(t), 2) for name, t in taken.items()},
        "speedup_over_fastest_layout": {
            "eager against eager": round(speedup(least, " eager"), 3),
            "faster mode of each": round(speedup(least, ""), 3),
        },
        "examples_per_s": round(1e3 * BATCH / fastest(least, "ours", "")),
    }
    gflop = BATCH * float(exact.costs(fields, SCHEMA)["gflop_per_example"][0])
    result |= {"gflop": round(gflop, 2), "floor_ms": floors(fields, gflop, options)}
    if device == "cuda":
        peak = load_hardware(options.hardware).peak_flop_per_s(precision)
        result["mfu"] = {n: round(1e9 * gflop / (ms / 1e3) / peak, 4) for n, ms in least.items()}
    return result


def fastest(least: dict[str, float], name: str, mode: str) -> float:
    return min(ms for key, ms in least.items() if key.startswith(name) and key.endswith(mode))


def speedup(least: dict[str, float], mode: str) -> float:
    """The fastest layout's time over ours."""
    return min(fastest(least, name, mode) for name in NAMES) / fastest(least, "ours", mode)


def floors(fields: dict[str, int], gflop: float, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the step's flop and of its operations' bytes at this machine's best rates."""
    width, copied_bytes = 1024, 2**26
    linear = Linear(width, width, bias=False).to(options.device).requires_grad_(False)
    x_BW = torch.randn(BATCH, width, device=options.device)
    source = torch.zeros(copied_bytes, dtype=torch.uint8, device=options.device)
    target = torch.empty_like(source)
    steps: dict[str, Step] = {"product": lambda: linear(x_BW), "copy": lambda: target.copy_(source)}
    least = {n: min(t) for n, t in milliseconds(steps, 9, clock_of(options)).items()}
    gflop_per_ms = 2e-9 * BATCH * width**2 / least["product"]
    bytes_per_ms = 2 * copied_bytes / least["copy"]
    listed = operations(fields, SCHEMA, batch=BATCH)
    moved = sum(float((op.count * op.bytes)[0]) for op in listed)
    return {"flop": round(gflop / gflop_per_ms, 2), "bytes": round(moved / bytes_per_ms, 2)}


def clock_of(options: argparse.Namespace) -> Callable[[], float]:
    """Processor time on one CPU thread; on two, and on a GPU once it is done, the clock."""
    if options.device == "cuda":

        def synchronized() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return synchronized
    return time.process_time if options.threads == 1 else time.perf_counter


def run_one(options: argparse.Namespace) -> None:
    """Measure in this process and print JSON."""
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")
    found = {}
    with kept_heap():
        for name in options.cases:
            for tables in (False, True):
                label = f"{name}, {'with' if tables else 'without'} tables"
                found[label] = measure(FIELDS[name], tables=tables, options=options)
                print(label, found[label], file=sys.stderr, flush=True)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/train.json")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--hardware", default="h100-sxm", help="whose peak the MFU is a share of")
    parser.add_argument("--compile", choices=("yes", "no"), default="yes")
    parser.add_argument("--cases", nargs="+", choices=tuple(FIELDS), default=list(FIELDS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, help="measure in this process and print")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    options = parser.parse_args()
    if options.threads:
        run_one(options)
        return
    runs = [("1", "fp32"), ("2", "fp32")]
    if options.device == "cuda":
        runs = [("1", precision) for precision in ("fp32", "tf32", "bf16")]
    results = {}
    for threads, precision in runs:
        command = [sys.executable, *sys.argv, "--threads", threads, "--precision", precision]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[f"{precision}, threads {threads}"] = json.loads(printed.splitlines()[-1])
    record = {
        "kind": "measured",
        "what": "a training step of 4096 examples, 10 features of 5000 ids",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else cpu_model(),
        "repeats": options.repeats,
        "compiled_too": options.compile == "yes",
        "shapes": FIELDS,
        "results": results,
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
