"""Operations worth measuring: those of Wukong designs and of the models it is compared with.

An operation is measured for itself, once, however many designs contain it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cost_models.operations import wukong_ops
from cost_models.profile.kernels import case_bytes, case_flop
from cost_models.profile.record import Case
from cost_models.profile.sampling import farthest_first, interleave, spread

if TYPE_CHECKING:
    from cost_models.operations.ops import OpColumns
    from cost_models.profile.spaces import Space, StepDesign

Array = np.ndarray[Any, Any]
# Of a hundred operation rows, so many go to a kind; products take nearly all of a step's time.
SHARE = {"gemm": 44, "bmm": 26, "layer_norm": 9, "elementwise": 7, "reduction": 6, "copy": 4}
SHARE |= {"optimizer": 2, "batch_norm": 2}
_PRECISION_SHARES = (2.0, 1.0, 1.0)  # the first of a device's precisions is the most used
_WIDTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 51200)
_LAYOUT_DISTANCE = 2.0
_OP_S = 0.25  # most seconds an operation may take


def operation_cases(
    space: Space,
    designs: Sequence[StepDesign],
    count: int,
    *,
    precisions: Sequence[str],
    memory_bytes: int,
    rng: np.random.Generator,
) -> list[Case]:
    """Return up to `count` operations; any first part has each kind's share of rows.

    Of a kind, phase and precision, two of three are even over the logarithm of flop (of bytes, for
    what memory bounds), and one is farthest from those before in its sizes.
    """
    groups: dict[tuple[str, str, str], set[Case]] = defaultdict(set)
    for kind, phase, layout, batch, m, n, k in _operations(space, designs, rng):
        precision = draw_precision(_usable(kind, precisions), rng)
        case = Case(section="op", kind=kind, phase=phase, precision=precision, layout=layout,
                    mode="", batch=batch, m=m, n=n, k=k)  # fmt: skip
        if _fits(case, space, memory_bytes):
            groups[kind, phase, precision].add(case)
    streams = []
    sizes = {group: len(members) for group, members in groups.items()}
    for group, members in sorted(groups.items()):
        ordered = sorted(members, key=repr)
        rng.shuffle(ordered)  # of equal work, none is preferred
        weight = _weight(group, sizes)
        wanted = 1 + int(count * weight / sum(SHARE.values()))
        streams.append((weight, [ordered[i] for i in _order(ordered, wanted)]))
    return list(interleave(streams))[:count]


def draw_precision(precisions: Sequence[str], rng: np.random.Generator) -> str:
    """Draw one of a device's precisions; the first, the most used, twice as often as another."""
    shares = np.array(_PRECISION_SHARES[: len(precisions)])
    return str(rng.choice(precisions, p=shares / shares.sum()))


def _weight(group: tuple[str, str, str], sizes: Mapping[tuple[str, str, str], int]) -> float:
    """Rows of a group among a hundred: what its kind gets, as its operations were drawn."""
    alike = sum(size for (kind, _, _), size in sizes.items() if kind == group[0])
    return SHARE[group[0]] * sizes[group] / alike


def _usable(kind: str, precisions: Sequence[str]) -> list[str]:
    """TF32 changes products only, and the optimizer works on FP32 weights."""
    if kind == "optimizer":
        return ["fp32"]
    return [p for p in precisions if p != "tf32" or kind in ("gemm", "bmm")]


def _fits(case: Case, space: Space, memory_bytes: int) -> bool:
    """Whether it fits in memory with room for a second set, and takes no longer than `_OP_S`."""
    seconds = case_flop(case) / space.flop_per_s[case.precision]
    return 3 * case_bytes(case) < memory_bytes and seconds < _OP_S and case.m * case.n > 1


def _order(group: Sequence[Case], count: int) -> list[int]:
    work = np.log2([case_flop(case) or case_bytes(case) for case in group])
    merged = interleave([(2, spread(work, count)), (1, farthest_first(_features(group), count))])
    return list(dict.fromkeys(merged))[:count]


def _features(ordered: Sequence[Case]) -> Array:
    """What distances are taken over, (P, F): one unit is a doubling."""
    sizes = np.log2([[case.batch, case.m, case.n, case.k] for case in ordered])
    layouts = sorted({case.layout for case in ordered})
    marks = [[_LAYOUT_DISTANCE * (case.layout == one) for one in layouts] for case in ordered]
    return np.concatenate([sizes, np.array(marks)], axis=1)


_Operation = tuple[str, str, str, int, int, int, int]


def _operations(
    space: Space, designs: Iterable[StepDesign], rng: np.random.Generator
) -> Iterator[_Operation]:
    """Yield operations of designs at random batch sizes, and of the baselines."""
    for design in designs:
        batch = int(rng.choice(space.batches))
        columns = wukong_ops.operations(design.config, design.schema, batch=batch)
        columns += wukong_ops.optimizer_operations(design.config, design.schema)
        yield from _distinct(columns)
    yield from _baseline_products(space, rng)


def _distinct(columns: Iterable[OpColumns]) -> Iterator[_Operation]:
    for op in columns:
        if op.kind in SHARE and op.count[0] > 0:
            batch, m, n, k = (int(dim[0]) for dim in (op.batch, op.m, op.n, op.k))
            phase = "" if op.kind in ("gemm", "bmm") else op.phase
            if op.kind == "elementwise":  # how many tensors it reads
                n = int(np.clip(round(float(op.bytes[0]) / (4 * m)) - 1, 1, 3))
            yield op.kind, phase, op.layout, batch, m, n, k


def _baseline_products(space: Space, rng: np.random.Generator) -> Iterator[_Operation]:
    """Products of DLRM, DCNv2, MaskNet, FinalMLP and AutoInt+ at the paper's widths (Table 5).

    An MLP of width W on n_0·d inputs, cross layers of rank 512 or full, pairwise dot products, and
    attention over n_0 rows with 4 or 8 heads.
    """
    knobs: Mapping[str, Sequence[Any]] = space.knobs
    widest = 4 * max(knobs["mlp_width"])
    widths = [width for width in _WIDTHS if width <= widest]
    for _ in range(400):
        batch = int(rng.choice(space.batches))
        n_0, d = int(rng.choice(knobs["features"])), int(rng.choice(knobs["d"]))
        width, heads = int(rng.choice(widths)), int(rng.choice((4, 8)))
        flat, head_d = n_0 * d, int(rng.choice((32, 64)))
        for n_in, n_out in ((flat, width), (width, width), (flat, 512), (512, flat)):
            yield "gemm", "", "nt", 1, batch, n_out, n_in
            yield "gemm", "", "nn", 1, batch, n_in, n_out
            yield "gemm", "", "tn", 1, n_out, n_in, batch
        yield "bmm", "", "nt", batch, n_0, n_0, d
        yield "bmm", "", "nt", batch * heads, n_0, n_0, head_d
        yield "bmm", "", "nn", batch * heads, n_0, head_d, n_0
