"""Tables of operations: written and read again, sizes against traced torch, mistakes named."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from codesign.errors import ConfigError
from cost_models.operations.names import NAMES, find
from cost_models.operations.ops import ITEM_BYTES, Op, operations_of
from cost_models.operations.tables import DIMS, DTYPES, REQUIRED, OpRow, read_table
from cost_models.operations.trace import trace, trace_step

HEADER = "op,B,M,N,K,count,dtype,latency_ms"


def written(tmp_path: Path, *lines: str, name: str = "mine.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def only(tmp_path: Path, line: str) -> Op:
    [group] = read_table(written(tmp_path, HEADER, line)).groups()
    [op] = operations_of([group.op], 0)
    return op


SIZE = st.integers(1, 2**15 - 1)
ROWS = st.lists(
    st.builds(
        OpRow,
        line=st.just(0),
        name=st.sampled_from(sorted(NAMES)),
        op=st.none(),
        dtype=st.sampled_from(sorted(DTYPES)),
        sizes=st.tuples(SIZE, SIZE, SIZE, SIZE),
        count=st.integers(0, 1000),
        latency_s=st.none() | st.floats(1e-9, 1e4),
    ),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS, st.permutations(HEADER.split(",")), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_table_reads_as_it_was_written_whatever_the_order_of_its_columns(
    tmp_path: Path, rows: list[OpRow], columns: list[str], end: str, marked: bool
) -> None:
    path = tmp_path / "mine.csv"
    with path.open("w", encoding="utf-8-sig" if marked else "utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerow(columns)
        for row in rows:
            ms = "" if row.latency_s is None else repr(row.latency_s * 1e3)
            cells = (row.name, *map(str, row.sizes), str(row.count), row.dtype, ms)
            named = dict(zip(HEADER.split(","), cells, strict=True))
            writer.writerow([named[column] for column in columns])
    found = read_table(path)
    for row, read in zip(rows, found.rows, strict=True):
        assert (read.name, read.sizes, read.count) == (row.name, row.sizes, row.count)
        assert read.op == NAMES[row.name]
        assert read.dtype == DTYPES[str(row.dtype)]
        assert (read.latency_s or 0) == pytest.approx(row.latency_s or 0, rel=1e-12)
    groups = found.groups()
    places = np.concatenate([group.rows for group in groups])
    assert sorted(places.tolist()) == list(range(len(rows)))
    for group in groups:
        np.testing.assert_array_equal(group.op.count, found.count[group.rows])
        for place, size in zip(group.rows, group.op.bytes, strict=True):
            b, m, n, k = rows[place].sizes
            if group.op.kind == "bmm" and rows[place].name != "baddbmm":
                assert size == pytest.approx(
                    ITEM_BYTES[group.op.dtype] * b * (m * k + k * n + m * n), rel=1e-12
                )


def meta(*shape: int, grad: bool = False, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, device="meta", dtype=dtype, requires_grad=grad)


class Call(nn.Module):
    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.call(*inputs)


X, Y, Z = meta(4, 6, 8), meta(4, 6, 8), meta(4, 6, 8)
DEVICE = {"device": "meta"}
TRACED: list[tuple[str, nn.Module, tuple[torch.Tensor, ...]]] = [
    ("linear,1,24,10,8", nn.Linear(8, 10, bias=False, **DEVICE), (meta(24, 8),)),
    ("linear,4,6,10,8", nn.Linear(8, 10, bias=False, **DEVICE), (X,)),
    ("mm,,24,10,8", Call(torch.mm), (meta(24, 8), meta(8, 10))),
    ("bmm,4,6,10,8", Call(torch.bmm), (X, meta(4, 8, 10))),
    ("matmul,4,6,10,8", Call(torch.matmul), (X, meta(4, 8, 10))),
    ("baddbmm,4,6,10,8", Call(torch.baddbmm), (meta(4, 6, 10), X, meta(4, 8, 10))),
    ("softmax,4,6,8,", nn.Softmax(-1), (X,)),
    ("log_softmax,4,6,8,", nn.LogSoftmax(-1), (X,)),
    ("layer_norm,4,6,8,", nn.LayerNorm(8, **DEVICE), (X,)),
    ("LayerNorm,24,,8,", nn.LayerNorm(8, **DEVICE), (X,)),
    ("batch_norm,1,24,8,", nn.BatchNorm1d(8, track_running_stats=False, **DEVICE), (meta(24, 8),)),
    ("gelu,4,6,8,", nn.GELU(), (X,)),
    ("VECrelu,4,6,8,", nn.ReLU(), (X,)),
    ("aten::silu,4,6,8,", nn.SiLU(), (X,)),
    ("tanh,4,48,,", nn.Tanh(), (X,)),
    ("Pow,4,48,,", Call(lambda x: x**3), (X,)),
    ("aten::add.Tensor,4,6,8,", Call(torch.add), (X, Y)),
    ("VECmul,4,6,8,", Call(torch.mul), (X, Y)),
    ("addcmul,4,6,8,", Call(torch.addcmul), (X, Y, Z)),
    ("clone,4,6,8,", Call(torch.clone), (X,)),
    ("cat,8,6,8,", Call(lambda x, y: torch.cat((x, y))), (X, Y)),
    ("sum,4,6,,8", Call(lambda x: x.sum(-1)), (X,)),
    ("mean,4,6,1,8", Call(lambda x: x.mean(-1)), (X,)),
    ("native_dropout,4,6,8,", Call(lambda x: torch.native_dropout(x, 0.1, True)[0]), (X,)),
    ("embedding,4,6,8,", nn.Embedding(24, 8, **DEVICE), (meta(4, 6, dtype=torch.int64),)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "module", "inputs"), TRACED, ids=lambda x: str(x).split(",")[0])
def test_an_operation_of_a_table_is_that_which_torch_does(
    tmp_path: Path, line: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]
) -> None:
    [traced] = trace(module, *inputs, backward=False)
    made = only(tmp_path, f"{line},1,,")
    same = ("kind", "phase", "dtype", "batch", "m", "n", "k", "bytes", "flop")
    assert [getattr(made, name) for name in same] == [getattr(traced, name) for name in same]


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("softmax_backward,4,6,8,", nn.Softmax(-1)),
        ("layer_norm_backward,4,6,8,", nn.LayerNorm(8, **DEVICE)),
        ("gelu_backward,4,6,8,", nn.GELU()),
        ("tanh_backward,4,6,8,", nn.Tanh()),
    ],
    ids=str,
)
def test_a_backward_operation_of_a_table_is_that_which_torch_does(
    tmp_path: Path, line: str, module: nn.Module
) -> None:
    traced = trace(module, meta(4, 6, 8, grad=True))
    [backward] = [op for op in traced if op.phase == "backward"]
    made = only(tmp_path, f"{line},1,,")
    assert (made.kind, made.phase, made.m, made.n, made.bytes) == (
        backward.kind, backward.phase, backward.m, backward.n, backward.bytes,
    )  # fmt: skip


def test_adam_moves_seven_tensors_in_fp32_whatever_the_row_says(tmp_path: Path) -> None:
    weights = torch.ones(4, 6, requires_grad=True)
    weights.grad = torch.ones(4, 6)
    traced = max(trace_step(torch.optim.Adam([weights], fused=True)), key=lambda op: op.bytes)
    made = only(tmp_path, "adam,4,6,,,1,bf16,")
    assert made.bytes == traced.bytes == 7 * 4 * 24
    assert made._replace(n=1) == traced._replace(n=1)


def test_bags_read_their_ids_and_rows_and_write_their_sums(tmp_path: Path) -> None:
    bag = nn.EmbeddingBag(4 * 6 * 3, 8, mode="sum")
    ids = torch.randint(72, (24, 3))
    made = only(tmp_path, "embedding_bag,4,6,8,3,1,,")
    assert made.bytes == 24 * 3 * (8 + 4 * 8) + 24 * 8 * 4
    assert made.flop == 0
    out = F.embedding_bag(ids, bag.weight)
    assert (made.batch, made.m, made.n, made.k) == (len(bag.weight), *out.shape, ids.shape[1])


def test_half_precision_is_half_the_bytes_and_predicted_as_bf16(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER, *(f"linear,1,64,64,64,1,{d}," for d in ("", "tf32", "half")))
    groups = read_table(path).groups()
    assert [group.precision for group in groups] == ["fp32", "tf32", "bf16"]
    assert [group.op.dtype for group in groups] == ["float32", "float32", "float16"]
    sizes = [group.op.bytes[0] for group in groups]
    assert sizes == [4 * 3 * 64**2, 4 * 3 * 64**2, 2 * 3 * 64**2]


def test_every_kind_of_every_name_says_what_its_dims_are() -> None:
    assert {op.kind for op in NAMES.values()} == DIMS.keys()
    for name, op in NAMES.items():
        spellings = (name, name.upper(), name.title().replace("_", ""), f" aten::{name}_ ")
        assert all(find(each) == op for each in spellings), name
    with pytest.raises(ConfigError, match="op is 'veclinear'"):
        find("veclinear")


def test_other_columns_are_ignored_and_named_and_slips_are_refused(tmp_path: Path) -> None:
    found = read_table(written(tmp_path, "layer,op,B,M,N,K,", "enc.0,relu,1,8,8,,"))
    assert found.ignored == ("layer",)
    for slip, meant in (("latency", "latency_ms"), ("Dtype", "dtype"), ("counts", "count")):
        path = written(tmp_path, f"op,B,M,N,K,{slip}", "relu,1,8,8,,1")
        with pytest.raises(
            ConfigError, match=f"column {slip!r} is unknown; did you mean {meant!r}"
        ):
            read_table(path)


GOOD = {"op": "linear", "B": "1", "M": "8", "N": "8", "K": "8", "count": "2", "dtype": "fp32"}
GOOD["latency_ms"] = "0.5"
SIZES_BAD = ["0", "-1", "nan", "inf", "1e300", "1.5", "1_000", "wide", "1e13"]
BAD_CELLS = [
    *itertools.product("BMNK", SIZES_BAD, ["must be a whole number ≥ 1"]),
    *(
        ("count", bad, "must be a whole number ≥ 0 and < 1.1e+12")
        for bad in ("-1", "1.5", "nan", "inf", "x", "1" + 12 * "0" + "0")
    ),
    *(("latency_ms", bad, "must be finite and > 0") for bad in ("nan", "0", "-1", "inf", "fast")),
    ("dtype", "fp8", "must be one of fp32, float32"),
    ("op", "lenear", "did you mean linear"),
    ("op", "qqqqqq", "known: linear, addmm"),
    ("op", "", "known: linear, addmm"),
    ("M", "", "linear needs it"),
]


@pytest.mark.parametrize(("column", "value", "allowed"), BAD_CELLS)
def test_a_bad_cell_is_named_by_file_row_and_column_with_what_is_allowed(
    tmp_path: Path, column: str, value: str, allowed: str
) -> None:
    rows = [GOOD, {**GOOD, column: value}, GOOD]
    path = written(tmp_path, ",".join(GOOD), *(",".join(row.values()) for row in rows))
    with pytest.raises(ConfigError) as error:
        read_table(path)
    [line] = str(error.value).partition("\n  hint: ")[0].splitlines()
    said = f"{path}:3: {column} is {'blank' if value == '' and column == 'M' else repr(value)}; "
    assert line.startswith(said)
    assert allowed in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ":1: is empty; must have columns op, B, M, N, K"),
        (b"\n\n", ":1: is empty"),
        (b"op,B,M,N,K\n", ": has no row"),
        (b"op,B,M,N\nrelu,1,1,1\n", ":1: has no column K"),
        (b"op,B,M,N,K,B\nrelu,1,1,1,1,1\n", ":1: column B is there 2 times"),
        (b"op;B;M;N;K\nrelu;1;1;1;1\n", ":1: its columns are not separated by commas"),
        (b"op\tB\tM\tN\tK\n", ":1: its columns are not separated by commas"),
        ("op,B,M,N,K\n".encode("utf-16"), ": is no UTF-8 text"),
        ("op,B,M,N,K\n".encode("utf-16-le"), ": has NUL characters"),
        (b"op,B,M,N,K\nrelu,1,1\n", ":2: has 3 fields; must have 5"),
        (b"op,B,M,N,K\nrelu,1,1,1,1,1\n", ":2: has 6 fields; must have 5"),
        (b"op,B,M,N,K\nrelu,1000000,1000000,1000000,7\n", ":2: B·M·N·K is 7e+18; must be <"),
        (b"op,B,M,N,K\n\nrelu,,,,\n", ":3: B, M, N, K are all blank"),
        (b"op,B,M,N,K\nsum,8,8,8,\n", ":2: K is blank; sum needs it"),
        (b'op,B,M,N,K\n"relu,1,1,1\n', ":2: is no CSV"),
        (b"op,B,M,N,K\n" + b"relu,0,1,1,1\n" * 50, ": 30 more mistakes"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_table(path)
    assert f"{path}{said}" in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(tmp_path / "gone.csv")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(tmp_path)


CELLS = st.sampled_from([*REQUIRED, "linear", "1", "", "nan", "-1", '"', "1e999", "\r", "٣", "²"])
RUBBISH = st.binary(max_size=60) | st.lists(
    st.lists(CELLS | st.text(max_size=5), max_size=7).map(",".join), max_size=5
).map(lambda lines: "\n".join(["op,B,M,N,K", *lines]).encode("utf-8", "surrogatepass"))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(RUBBISH)
def test_rubbish_is_read_as_whole_operations_or_refused_by_name(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    said = ""
    try:
        groups = read_table(path).groups()
    except ConfigError as error:
        groups, said = [], str(error)
    assert str(path) in said or groups
    for group in groups:
        assert np.isfinite(group.op.bytes).all()
        assert (group.op.bytes > 0).all()
