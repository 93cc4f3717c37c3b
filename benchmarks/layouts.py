"""Which memory layout of a Wukong layer is faster on a CPU: rows as (B, N, D) or as (B, D, N)?

Forward + backward of a stack of layers in FP32 on one thread, from embeddings as tables hand them
over, (B, N·D). Three layouts of the same arithmetic are timed in turn within one process, so their
ratio stands even where the machine's speed drifts:

    bnd_bmm   (B, N, D); a mix over rows is one small product for each example (what
              `wukong.layers` does: timed through its modules)
    bnd_mm    (B, N, D); a mix over rows is one large product over a transposed copy
    bdn       (B, D, N), contiguous; a mix over rows is a plain linear map over the last axis

    python benchmarks/layouts.py [--out benchmarks/results/layouts.json]

All products are torch's own, so that the layouts alone differ: with oneDNN a layer is one step of
autograd, which `bench_train.py` measures.

B examples, N rows, D width, M rows of an output.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wukong.layers import FactorizationMachineBlock, LinearCompressBlock, WukongLayer
from wukong.shape import WukongConfig, layer_shapes

BATCH, N_0 = 4096, 10
SETTINGS = {
    "small": WukongConfig(layers=2, n_F=8, n_L=8, k=8, mlp_depth=2, mlp_width=128, d=16),
    "large": WukongConfig(layers=4, n_F=16, n_L=16, k=16, mlp_depth=2, mlp_width=256, d=64),
}


def bnd_bmm(layers: list[WukongLayer], x_BP: Tensor) -> Tensor:
    x_BND = x_BP.view(len(x_BP), N_0, -1)
    for layer in layers:
        x_BND = layer(x_BND)
    return x_BND


def bnd_mm(layers: list[WukongLayer], x_BP: Tensor) -> Tensor:
    x_BND = x_BP.view(len(x_BP), N_0, -1)
    for layer in layers:
        fm_BNK = x_BND @ functional.linear(x_BND.mT, layer.fmb.y.T)
        fmb_BFD = _after_interactions(layer.fmb, fm_BNK).view(len(x_BP), -1, x_BND.shape[2])
        lcb_BLD = functional.linear(x_BND.mT, layer.lcb.weight).mT
        if isinstance(layer.residual, LinearCompressBlock):
            x_BND = functional.linear(x_BND.mT, layer.residual.weight).mT
        x_BND = layer.norm(torch.cat((fmb_BFD, lcb_BLD), dim=1) + x_BND)
    return x_BND


def bdn(layers: list[WukongLayer], x_BP: Tensor) -> Tensor:
    """The FMB's output is read as (D, n_F), so equal weights give a permuted FMB (see `check`)."""
    x_BDN = x_BP.view(len(x_BP), N_0, -1).mT.contiguous()
    for layer in layers:
        fm_BNK = x_BDN.mT @ functional.linear(x_BDN, layer.fmb.y.T)
        fmb_BDF = _after_interactions(layer.fmb, fm_BNK).view(len(x_BP), x_BDN.shape[1], -1)
        lcb_BDL = functional.linear(x_BDN, layer.lcb.weight)
        if isinstance(layer.residual, LinearCompressBlock):
            x_BDN = functional.linear(x_BDN, layer.residual.weight)
        x_BDN = layer.norm((torch.cat((fmb_BDF, lcb_BDL), dim=2) + x_BDN).mT).mT
    return x_BDN.mT


LAYOUTS: dict[str, Callable[[list[WukongLayer], Tensor], Tensor]] = {
    "bnd_bmm": bnd_bmm,
    "bnd_mm": bnd_mm,
    "bdn": bdn,
}


def _after_interactions(fmb: FactorizationMachineBlock, fm_BNK: Tensor) -> Tensor:
    return fmb.mlp(fmb.norm(fm_BNK.flatten(1)))


def make_layers(config: WukongConfig) -> list[WukongLayer]:
    """Build the stack from a fixed seed."""
    torch.manual_seed(0)
    return [WukongLayer(shape, config) for shape in layer_shapes(config, N_0)]


def check(config: WukongConfig) -> None:
    """Raise AssertionError unless all layouts compute the same, on weights permuted for `bdn`."""
    x_BP = torch.randn(8, N_0 * config.d)
    layers, permuted = make_layers(config), make_layers(config)
    for layer in permuted:
        last = layer.fmb.mlp.linears[-1]
        for weight in (last.weight, last.bias):
            rows = weight.data.view(-1, config.d, *weight.shape[1:])
            weight.data = rows.transpose(0, 1).reshape(weight.shape)
    torch.testing.assert_close(bnd_mm(layers, x_BP), bnd_bmm(layers, x_BP), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bdn(permuted, x_BP), bnd_bmm(layers, x_BP), rtol=1e-4, atol=1e-4)


def time_layouts(config: WukongConfig, repeats: int) -> dict[str, Any]:
    """Median milliseconds of a forward + backward by layout, and each one's ratio to the first."""
    layers = make_layers(config)
    weights = list(nn.ModuleList(layers).parameters())
    x_BP = torch.randn(BATCH, N_0 * config.d, requires_grad=True)
    seconds: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    for _ in range(repeats + 1):
        for name, stack in LAYOUTS.items():
            start = time.perf_counter()
            torch.autograd.grad(stack(layers, x_BP).sum(), [x_BP, *weights])
            seconds[name].append(time.perf_counter() - start)
    rounds = {name: each[1:] for name, each in seconds.items()}  # the first round warms up
    return {
        "median_ms": {n: round(1e3 * statistics.median(s), 1) for n, s in rounds.items()},
        "median_ratio_to_bnd_bmm": {
            name: round(
                statistics.median(a / b for a, b in zip(s, rounds["bnd_bmm"], strict=True)), 3
            )
            for name, s in rounds.items()
        },
    }


def cpu_model() -> str:
    """The processor's name as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/layouts.json")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, config in SETTINGS.items():
        with torch.backends.mkldnn.flags(enabled=False):
            check(config)
            timed = time_layouts(config, options.repeats)
        shape = {key: getattr(config, key) for key in ("layers", "n_F", "n_L", "k", "d")}
        shape |= {"mlp": f"{config.mlp_depth}x{config.mlp_width}", "n_0": N_0, "batch": BATCH}
        results[name] = shape | timed
        print(name, results[name])
    record = {
        "kind": "measured",
        "what": "forward + backward of the layers, FP32, one thread",
        "date": options.date,
        "torch": torch.__version__,
        "cpu": cpu_model(),
        "repeats": options.repeats,
        "settings": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
