"""The tracer against torch's own counter, on models of all sorts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cost_models.operations.ops import KINDS, PHASES, PRODUCTS, Op
from cost_models.operations.trace import TraceError, on_meta, trace, trace_step
from tests.support.small_models import MODELS, ROWS, Checkpointed, dense
from wukong.data.batch import Batch
from wukong.embeddings import TableOptimizer, build_tables
from wukong.model import Wukong
from wukong.optim import RowWiseAdagrad
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import TableGroup, TableOverride, WukongConfig, table_specs


def counted_by_torch(module: nn.Module, *inputs: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        out = module(*inputs)
        parts = [out] if isinstance(out, Tensor) else out
        parts = parts.values() if isinstance(parts, dict) else parts
        sum(x.sum() for x in parts).backward()
    return counter.get_total_flops()


def total_flop(found: Counter[Op]) -> int:
    return sum(op.flop * count for op, count in found.items())


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_flop_are_those_that_torch_counts(name: str, device: str) -> None:
    module, inputs = MODELS[name]()
    if device == "meta":
        module, inputs = on_meta(module), on_meta(inputs)
    found = trace(module, *inputs)
    assert total_flop(found) == counted_by_torch(module, *inputs) > 0
    assert {op.kind for op in found} <= set(KINDS)
    assert {op.phase for op in found} == set(PHASES[:2])


def test_a_bilinear_map_has_no_flop_because_torch_counts_none() -> None:
    module, inputs = nn.Bilinear(3, 4, 5), (dense(3), dense(4).requires_grad_())
    found = trace(module, *inputs)
    assert total_flop(found) == counted_by_torch(module, *inputs) == 0
    assert {op.kind for op in found} == {"other", "elementwise", "reduction"}


SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=7),
        CategoricalFeature(name="item", cardinality=11),
        CategoricalFeature(name="hour", cardinality=5),
    ),
    dense=("year", "age"),
)
BASE = {"layers": 2, "n_F": 3, "n_L": 2, "k": 4, "mlp_depth": 2, "mlp_width": 8, "d": 6,
        "bottom_width": 9, "head_width": 10}  # fmt: skip
GROUP = TableGroup(features=("user", "item"), width=2, rows=2, hidden=(5,))
SWITCHES: list[dict[str, Any]] = [
    {},
    {"fm": "plain"},
    {"attentive_y": True, "attentive_rows": 3, "attentive_width": 5},
    {"mlp_norm": "batch", "head_norm": "batch"},
    {"mlp_norm": "layer", "mlp_bias": False, "mlp_output_activation": True},
    {"residual_bias": True, "dense_first": True},
    {"dropout": 0.1, "bottom_output_activation": True},
    {"dense_mode": "per_feature"},
    {"dense_mode": "linear", "dense_rows": 2, "dense_bias": False},
    {"dense_rows": 3, "bottom_depth": 0, "head_depth": 0},
    {"n_F": 2, "n_L": 2},
    {"n_F": (4, 2), "n_L": (1, 3), "k": (2, 5), "mlp_width": (8, 4), "mlp_depth": (1, 2)},
    {"tables": (TableOverride(feature="item", rows=3),)},
    {"table_groups": (GROUP,)},
]


def wukong(schema: InputSchema, **fields: Any) -> tuple[Wukong, Batch]:
    config = WukongConfig(**{**BASE, **fields})
    optimizer = TableOptimizer(name="sgd", lr=0.1)
    specs = table_specs(config, schema)
    tables = build_tables("plain", specs, init_std=0.01, optimizer=optimizer, seed=0)
    bags = len(schema.multi_hot)
    batch = Batch(
        one_hot_BF=torch.zeros(ROWS, len(schema.one_hot), dtype=torch.int64),
        bag_values=torch.zeros(2 * ROWS * bags, dtype=torch.int64),
        bag_lengths_FB=torch.full((bags, ROWS), 2),
        dense_BD=torch.randn(ROWS, len(schema.dense)),
        label_BT=torch.zeros(ROWS, 1),
    )
    return Wukong(config, schema, tables), batch


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_wukong_with_its_tables_is_counted_on_meta_as_torch_counts_it(
    switches: dict[str, Any], dtype: torch.dtype
) -> None:
    model, batch = wukong(SCHEMA, **switches)
    model.to(dtype)
    batch = Batch(**{**vars(batch), "dense_BD": batch.dense_BD.to(dtype)})
    expected = counted_by_torch(model, batch)
    found = trace(on_meta(model), on_meta(batch))
    assert total_flop(found) == expected
    assert {op.kind for op in found if op.flop} == set(PRODUCTS)
    assert not {op for op in found if op.kind == "other"}


def test_meta_and_cpu_give_one_list() -> None:
    model, batch = wukong(SCHEMA, dropout=0.1, head_norm="batch")
    assert trace(on_meta(model), on_meta(batch)) == trace(model, batch)


def test_shapes_that_depend_on_data_are_refused_on_meta_and_traced_on_the_cpu() -> None:
    genres = CategoricalFeature(name="genres", cardinality=5, multi_hot=True)
    model, batch = wukong(InputSchema(categorical=(*SCHEMA.categorical, genres)))
    with pytest.raises(TraceError, match="trace the module on the CPU, with a real batch"):
        trace(on_meta(model), on_meta(batch))
    bags = [op for op in trace(model, batch) if op.kind == "embedding_bag"]
    assert {(op.phase, op.m, op.n, op.k, op.batch) for op in bags} == {
        (phase, *dims)
        for phase in ("forward", "backward")
        for dims in ((3 * ROWS, 6, 1, 7 + 11 + 5), (ROWS, 6, 2, 5))
    }


class Asks(nn.Module):
    def __init__(self, question: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.question = question

    def forward(self, x: Tensor) -> Tensor:
        self.question(x)
        return x


@pytest.mark.parametrize(
    "question",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
    ],
    ids=["item", "tolist", "cpu", "numpy", "mask", "nonzero", "unique"],
)
def test_every_way_to_ask_for_data_is_refused_on_meta(question: Callable[[Tensor], Any]) -> None:
    with pytest.raises(TraceError, match="holds no data"):
        trace(Asks(question), torch.zeros(3, device="meta"))


def test_a_mistake_of_the_module_keeps_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="reduction dim"):
        trace(nn.Linear(3, 2, device="meta"), torch.zeros(4, 5, device="meta"))


def test_a_linear_map_is_nt_forward_and_nn_and_tn_backward() -> None:
    x = torch.zeros(6, 3, requires_grad=True)
    found = trace(nn.Linear(3, 5), x)
    assert found == Counter(
        {
            Op("gemm", "forward", "float32", "nt", 1, 6, 5, 3, 4 * (5 + 18 + 15 + 30)): 1,
            Op("gemm", "backward", "float32", "nn", 1, 6, 3, 5, 4 * (30 + 15 + 18)): 1,
            Op("gemm", "backward", "float32", "tn", 1, 5, 3, 6, 4 * (30 + 18 + 15)): 1,
            Op("reduction", "backward", "float32", "", 1, 5, 1, 6, 4 * (30 + 5)): 1,
        }
    )


def test_frozen_weights_and_inputs_without_gradient_cost_no_gradient() -> None:
    linear = nn.Linear(3, 5)
    linear.weight.requires_grad_(False)
    backward = {op.kind for op in trace(linear, torch.zeros(6, 3)) if op.phase == "backward"}
    assert backward == {"reduction"}
    linear.bias.requires_grad_(False)
    assert {op.phase for op in trace(linear, torch.zeros(6, 3))} == {"forward"}


def test_a_sparse_gradient_of_a_table_is_as_large_as_the_rows_looked_up() -> None:
    table = nn.EmbeddingBag(1000, 4, mode="sum", sparse=True)
    found = trace(table, torch.zeros(ROWS, 3, dtype=torch.int64))
    (backward,) = (op for op in found if (op.kind, op.phase) == ("embedding_bag", "backward"))
    ids, bags, rows = ROWS * 3 * 8, ROWS * 4 * 4, ROWS * 3 * 4 * 4
    assert backward.bytes == ids + bags + (ids + rows)


def test_inference_is_the_forward_pass_of_training() -> None:
    model, batch = wukong(SCHEMA)
    both = trace(model, batch)
    forward = Counter({op: n for op, n in both.items() if op.phase == "forward"})
    assert trace(model, batch, backward=False) == forward


def test_what_checkpointing_computes_again_is_backward() -> None:
    class Plain(Checkpointed):
        def forward(self, x_BI: Tensor) -> Tensor:
            return nn.Sequential(*self.blocks)(x_BI)

    def products(module: nn.Module, phase: str) -> int:
        found = trace(module, torch.randn(ROWS, 5, requires_grad=True))
        return sum(n for op, n in found.items() if (op.kind, op.phase) == ("gemm", phase))

    assert products(Plain(), "forward") == products(Checkpointed(), "forward") == 6
    again = products(Checkpointed(), "backward") - products(Plain(), "backward")
    assert again == 6


def test_gradients_that_are_there_are_neither_added_to_nor_lost() -> None:
    model, batch = wukong(SCHEMA)
    first = trace(model, batch)
    assert all(p.grad is None for p in model.parameters())
    kept = {p: torch.ones_like(p) for p in model.parameters()}
    for p, grad in kept.items():
        p.grad = grad
    assert trace(model, batch) == first
    assert all(p.grad is kept[p] for p in model.parameters())


def test_a_tensor_that_is_expanded_or_broadcast_counts_its_own_elements() -> None:
    class Scaled(nn.Module):
        def forward(self, x_BN: Tensor, scale_N: Tensor) -> Tensor:
            return x_BN.expand(4, 3) * scale_N

    (op,) = trace(Scaled(), torch.zeros(1, 3), torch.zeros(3, dtype=torch.float64))
    assert op == Op("elementwise", "forward", "float64", "", 1, 12, 1, 1, 4 * 3 + 8 * 3 + 8 * 12)


def test_a_mask_counts_one_byte_an_element() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return torch.where(mask, x, x)

    (op,) = trace(Masked(), torch.zeros(5, 7), torch.zeros(5, 7, dtype=torch.bool))
    assert (op.kind, op.bytes) == ("elementwise", 35 * (1 + 4 + 4 + 4))


def test_norms_read_and_write_rows_and_parameters_once() -> None:
    x = torch.zeros(2, 3, 5, requires_grad=True)
    assert trace(nn.LayerNorm(5), x) == Counter(
        {
            Op("layer_norm", "forward", "float32", "", 1, 6, 5, 1, 4 * (30 + 30 + 10)): 1,
            Op("layer_norm", "backward", "float32", "", 1, 6, 5, 1, 4 * (90 + 5 + 10)): 1,
        }
    )
    (op,) = trace(nn.BatchNorm1d(3, device="meta").eval(), x.to("meta"), backward=False)
    assert op == Op("batch_norm", "forward", "float32", "", 1, 10, 3, 1, 4 * (30 + 30 + 6))


def test_a_lookup_reads_the_rows_it_picks_and_its_gradient_writes_the_whole_table() -> None:
    found = trace(nn.Embedding(9, 4), torch.zeros(5, dtype=torch.int64))
    assert found == Counter(
        {
            Op("embedding_bag", "forward", "float32", "", 9, 5, 4, 1, 8 * 5 + 4 * (20 + 20)): 1,
            Op("embedding_bag", "backward", "float32", "", 9, 5, 4, 1, 8 * 5 + 4 * (20 + 36)): 1,
        }
    )


def test_dropout_of_one_kernel_has_a_mask_of_one_byte_an_element() -> None:
    class Dropped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.native_dropout(x, 0.5, True)[0]

    found = trace(Dropped(), torch.zeros(5, 7, device="meta", requires_grad=True))
    assert {(op.phase, op.m, op.bytes) for op in found} == {
        ("forward", 35, 35 * (4 + 4 + 1)),
        ("backward", 35, 35 * (4 + 4 + 1)),
    }


def test_on_meta_keeps_shapes_and_strides_and_copies_no_data() -> None:
    linear = nn.Linear(3, 5)
    moved = on_meta({"linear": linear, "x": [torch.zeros(4, 6).T, "text"]})
    assert moved["linear"].weight.is_meta
    assert isinstance(moved["linear"].weight, nn.Parameter)
    assert not linear.weight.is_meta
    assert moved["x"][0].stride() == (1, 6)
    assert moved["x"][1] == "text"


def stepped(optimizer: torch.optim.Optimizer, *weights: nn.Parameter) -> Counter[Op]:
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    return trace_step(optimizer)


def test_a_fused_step_reads_and_writes_weights_and_state_and_reads_gradients() -> None:
    weights = [nn.Parameter(torch.zeros(3, 5)), nn.Parameter(torch.zeros(7))]
    adam = stepped(torch.optim.Adam(weights, fused=True), *weights)
    assert Op("optimizer", "optimizer", "float32", "", 1, 22, 2, 1, 4 * 22 * 7) in adam
    sgd = stepped(torch.optim.SGD(weights, fused=True), *weights)
    assert set(sgd) == {Op("optimizer", "optimizer", "float32", "", 1, 22, 2, 1, 4 * 22 * 3)}
    momentum = stepped(torch.optim.SGD(weights, fused=True, momentum=0.9), *weights)
    assert set(momentum) == {Op("optimizer", "optimizer", "float32", "", 1, 22, 2, 1, 4 * 22 * 5)}


def test_a_step_that_is_not_fused_is_its_parts() -> None:
    table = nn.Parameter(torch.zeros(9, 4))
    found = stepped(RowWiseAdagrad([table], lr=0.1), table)
    written = sorted((op.kind, op.m) for op in found.elements())
    assert written == [
        ("elementwise", 9),  # sum += mean
        ("elementwise", 9),  # sqrt
        ("elementwise", 9),  # + eps
        ("elementwise", 9),  # 1 / x
        ("elementwise", 36),  # the gradient's square
        ("elementwise", 36),  # the weights
        ("reduction", 9),
    ]
