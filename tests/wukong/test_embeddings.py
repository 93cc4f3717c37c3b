"""The table backends against a per-example NumPy lookup, and against each other."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.errors import ConfigError
from wukong.data.batch import Batch
from wukong.embeddings import BACKENDS, TableOptimizer, build_tables, initial_weights
from wukong.shape import TableSpec

ADAGRAD = TableOptimizer(name="rowwise_adagrad", lr=0.1)


def spec(feature, cardinality, width, pooling=None):
    return TableSpec(
        feature=feature,
        cardinality=cardinality,
        width=width,
        multi_hot=pooling is not None,
        pooling=pooling or "sum",
    )


MIXED = (
    spec("user.id", 7, 4),
    spec("genres", 9, 4, "mean"),
    spec("user_id", 5, 8),
    spec("city", 6, 4),
    spec("tags", 11, 4, "sum"),
    spec("words", 3, 8, "mean"),
)


def batch_of(specs, examples, rng):
    one_hot = [rng.integers(0, s.cardinality, examples) for s in specs if not s.multi_hot]
    bags = [
        [rng.integers(0, s.cardinality, rng.integers(0, 4)) for _ in range(examples)]
        for s in specs
        if s.multi_hot
    ]
    lengths = np.array([[len(ids) for ids in bag] for bag in bags], dtype=np.int64)
    values = np.concatenate([np.zeros(0, np.int64), *(ids for bag in bags for ids in bag)])
    return Batch(
        one_hot_BF=torch.tensor(np.array(one_hot).reshape(len(one_hot), examples).T),
        bag_values=torch.tensor(values),
        bag_lengths_FB=torch.tensor(lengths.reshape(len(bags), examples)),
        dense_BD=torch.zeros(examples, 0),
        label_BT=torch.zeros(examples, 1),
    )


def looked_up(specs, batch, weights):
    """Example by example, feature by feature."""
    ends = batch.bag_lengths_FB.numpy().reshape(-1).cumsum()
    bags = np.split(batch.bag_values.numpy(), ends)[:-1]
    rows = []
    for b in range(len(batch)):
        row, one_hot, multi_hot = [], 0, 0
        for s in specs:
            table = weights[s.feature].numpy().astype(np.float64)
            if not s.multi_hot:
                row.append(table[batch.one_hot_BF[b, one_hot]])
                one_hot += 1
                continue
            ids = bags[multi_hot * len(batch) + b]
            multi_hot += 1
            total = table[ids].sum(axis=0)
            row.append(total / max(1, len(ids)) if s.pooling == "mean" else total)
        rows.append(np.concatenate(row))
    return np.array(rows)


def built(backend, specs=MIXED, optimizer=ADAGRAD, seed=3):
    return build_tables(backend, specs, init_std=0.1, optimizer=optimizer, seed=seed)


def trained(tables, batches, lr_at=lambda step: 0.1):
    """Weights after one step per batch on a loss that weighs every output differently."""
    optimizer = tables.optimizer()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        optimizer.zero_grad()
        pooled = tables(batch)
        ((pooled - torch.linspace(-1, 1, pooled.shape[1])) ** 2).sum().backward()
        optimizer.step()
    return {feature: table.clone() for feature, table in tables.weights().items()}


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_a_backend_looks_up_and_pools_as_one_example_at_a_time_does(backend):
    tables = built(backend)
    batch = batch_of(MIXED, 17, np.random.default_rng(0))
    assert (batch.bag_lengths_FB == 0).any()
    np.testing.assert_allclose(
        tables(batch).detach().numpy(), looked_up(MIXED, batch, tables.weights()), atol=1e-6
    )


feature_kinds = st.tuples(
    st.sampled_from([None, "sum", "mean"]), st.sampled_from([2, 4]), st.integers(1, 6)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(feature_kinds, min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 99))
def test_plain_tables_keep_the_order_of_any_mix_of_features(kinds, examples, seed):
    specs = [spec(f"f{i}", rows, width, pool) for i, (pool, width, rows) in enumerate(kinds)]
    tables = built("plain", specs)
    batch = batch_of(specs, examples, np.random.default_rng(seed))
    np.testing.assert_allclose(
        tables(batch).detach().numpy(), looked_up(specs, batch, tables.weights()), atol=1e-6
    )


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_equal_seeds_give_equal_tables_on_every_backend(backend):
    expected = dict(initial_weights(MIXED, init_std=0.1, seed=3))
    found = built(backend).weights()
    assert list(found) == [s.feature for s in MIXED]
    assert all(torch.equal(found[feature], expected[feature]) for feature in expected)
    assert not torch.equal(built(backend, seed=4).weights()["city"], expected["city"])


def test_initial_weights_have_the_standard_deviation_asked_for():
    ((_, table),) = initial_weights([spec("f", 1000, 50)], init_std=0.02, seed=0)
    # 50,000 draws know a deviation to 1 / sqrt(100,000), 0.3%.
    assert float(table.std()) == pytest.approx(0.02, rel=0.015)
    assert abs(float(table.mean())) < 0.02 * 4 / 50_000**0.5


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_weights_written_by_one_backend_are_read_by_another(backend):
    source, target = built("plain", seed=8), built(backend)
    target.load_weights(source.weights())
    batch = batch_of(MIXED, 5, np.random.default_rng(1))
    torch.testing.assert_close(target(batch), source(batch))


@pytest.mark.parametrize(
    "name, l2, tolerance",
    [("adam", 0.01, 1e-6), ("rowwise_adagrad", 0.01, 1e-6), ("sgd", 0.0, 1e-6)],
)
def test_plain_and_dense_tables_learn_alike(name, l2, tolerance):
    rng = np.random.default_rng(2)
    batches = [batch_of(MIXED, 16, rng) for _ in range(10)]
    optimizer = TableOptimizer(name=name, lr=0.01, l2=l2)
    plain, dense = (
        trained(built(backend, optimizer=optimizer), batches, lambda step: 0.01)
        for backend in ("plain", "dense")
    )
    for feature, table in plain.items():
        torch.testing.assert_close(dense[feature], table, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["rowwise_adagrad", "sgd"])
def test_fused_updates_are_those_of_the_dense_gradient_at_each_steps_learning_rate(name):
    rng = np.random.default_rng(3)
    batches = [batch_of(MIXED, 16, rng) for _ in range(6)]
    optimizer = TableOptimizer(name=name, lr=123.0)
    plain, fused = (
        trained(built(backend, optimizer=optimizer), batches, lambda step: 0.01 * (step + 1))
        for backend in ("plain", "fused")
    )
    for feature, table in plain.items():
        torch.testing.assert_close(fused[feature], table, atol=1e-6, rtol=1e-6)


def test_l2_shrinks_rows_that_no_example_looks_up():
    tables = built("plain", [spec("f", 4, 2)], TableOptimizer(name="sgd", lr=0.5, l2=0.2))
    before = tables.weights()["f"].clone()
    batch = batch_of([spec("f", 1, 2)], 3, np.random.default_rng(0))
    after = trained(tables, [batch], lambda step: 0.5)["f"]
    torch.testing.assert_close(after[1:], before[1:] * (1 - 0.5 * 0.2))


@pytest.mark.parametrize(
    "optimizer, reason",
    [
        (TableOptimizer(name="rowwise_adagrad", l2=0.1), "sees only rows looked up"),
        (TableOptimizer(name="adam"), "touches the rows of one batch only"),
    ],
)
def test_the_fused_backend_says_why_it_cannot_train_so(optimizer, reason):
    with pytest.raises(ConfigError, match=reason):
        built("fused", optimizer=optimizer)


def test_an_unknown_backend_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fused'"):
        built("fuse")


@pytest.mark.parametrize(
    "settings_, reason",
    [({"name": "adamw"}, "adamw"), ({"lr": 0.0}, "must be > 0"), ({"l2": -1.0}, "l2 is -1.0")],
)
def test_table_optimizer_settings_that_cannot_be_are_refused(settings_, reason):
    with pytest.raises(ConfigError, match=reason):
        TableOptimizer(**settings_)


def test_without_torchrec_the_plain_backend_works_and_the_others_say_what_to_install():
    script = """
        import sys
        sys.modules["torchrec"] = None
        from codesign.errors import MissingPackageError
        from wukong.embeddings import TableOptimizer, build_tables
        from wukong.shape import TableSpec

        specs = [TableSpec(feature="f", cardinality=3, width=2, multi_hot=False, pooling="sum")]
        for backend in ("plain", "dense", "fused"):
            try:
                tables = build_tables(
                    backend, specs, init_std=0.1, optimizer=TableOptimizer(), seed=0
                )
                print(backend, tables.weights()["f"].shape)
            except MissingPackageError as error:
                print(backend, "install torchrec" in error.hint)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["plain torch.Size([3, 2])", "dense True", "fused True"]
