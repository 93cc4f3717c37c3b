"""A recorded table as a feasible set."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.designs import as_columns, as_designs, key_of
from codesign.errors import ConfigError
from codesign.search import random, support_points
from codesign.table import TableSet
from tests.support.suites.proposer import COMPUTE, LOSS, succeeded
from tests.support.toy_space import ToySpace

ROWS = [
    {"width": 8, "lr": 0.001, "norm": "none", "gate": True, "dropout": None},
    {"width": 16, "lr": 0.01, "norm": None, "gate": False, "dropout": 0.5},
    {"width": 64, "lr": 0.1, "norm": "batch", "gate": True, "dropout": 0},
    {"width": 64, "lr": 0.1, "norm": "layer", "gate": True, "dropout": 0},
]
GFLOP = [0.1, 0.2, 0.7, 0.8]


def table() -> TableSet:
    return TableSet(ROWS, {"gflop_per_example": GFLOP})


def toy_table(rows: int = 40) -> TableSet:
    """A few rows of the toy space, with holes between them."""
    space = ToySpace()
    designs = as_designs(space.sample(rows, np.random.default_rng(5)))
    return TableSet(designs, space.costs(as_columns(designs)))


def test_missing_values_become_plain_values_that_say_so():
    assert table().designs[:2] == [
        {
            "width": 8,
            "lr": 0.001,
            "norm": "none",
            "gate": True,
            "dropout": 0.0,
            "dropout_given": False,
        },
        {
            "width": 16,
            "lr": 0.01,
            "norm": "",
            "gate": False,
            "dropout": 0.5,
            "dropout_given": True,
        },
    ]
    assert [[type(v) for v in d.values()] for d in table().designs] == 4 * [
        [int, float, str, bool, float, bool]
    ]


def test_levels_are_what_the_rows_have_in_order():
    assert table().levels == {
        "width": (8, 16, 64),
        "lr": (0.001, 0.01, 0.1),
        "norm": ("", "batch", "layer", "none"),
        "gate": (False, True),
        "dropout": (0.0, 0.5),
        "dropout_given": (False, True),
    }


def test_numbers_are_encoded_by_order_and_on_a_logarithmic_scale_where_they_read_as_one():
    features = table().encode(as_columns(table().designs))
    np.testing.assert_allclose(features[:, 0], [0, 1 / 3, 1, 1])
    np.testing.assert_allclose(features[:, 1], [0, 0.5, 1, 1])
    assert features.min() == 0
    assert features.max() == 1


def test_a_sample_is_every_row_once_and_costs_are_the_rows():
    drawn = table().sample(99, np.random.default_rng(0))
    order = [table().designs.index(d) for d in as_designs(drawn)]
    assert sorted(order) == [0, 1, 2, 3]
    assert order != [0, 1, 2, 3]
    assert table().costs(drawn)["gflop_per_example"].tolist() == [GFLOP[i] for i in order]


def test_every_row_is_as_likely():
    space, counts = table(), np.zeros(4)
    for seed in range(400):
        counts[space.rows_of(space.sample(1, np.random.default_rng(seed)))[0]] += 1
    # Chi-square with 3 degrees of freedom: 16.3 is passed once in a thousand.
    assert (np.square(counts - 100) / 100).sum() < 16.3


def test_neighbours_are_the_rows_that_differ_in_one_knob_and_then_the_nearest():
    space = toy_table(200)
    codes = space.encode(as_columns(space.designs))
    for here, design in enumerate(space.designs[::20]):
        here *= 20
        differ = [sum(d[k] != design[k] for k in design) for d in space.designs]
        one_step = {i for i, n in enumerate(differ) if n == 1}
        others = sorted(
            (i for i in range(200) if differ[i] > 1),
            key=lambda i, at=codes[here]: float(np.square(codes[i] - at).sum()),
        )
        found = space.rows_of(space.neighbours(design)).tolist()
        assert set(found[: len(one_step)]) == one_step
        rest = found[len(one_step) :]
        assert len(rest) == 12
        far = [float(np.square(codes[i] - codes[here]).sum()) for i in (*rest, others[12])]
        assert sorted(far) == far


def test_a_design_of_the_lattice_that_is_no_row_is_encoded_and_has_neighbours_but_no_costs():
    stranger = {**table().designs[0], "width": 64}
    columns = as_columns([stranger])
    assert table().encode(columns).shape[0] == 1
    assert len(as_designs(table().neighbours(stranger))) == 4
    with pytest.raises(ConfigError, match=r"no row \{'width': 64, 'lr': 0\.001"):
        table().costs(columns)


@pytest.mark.parametrize(
    ("rows", "costs", "message"),
    [
        ([], {}, "has no rows"),
        ([{"a": 1}, {"b": 1}], {}, "row 1 of the table has the knobs b; must have those.*: a "),
        ([{"a": 1}, {"a": "x"}], {}, "the knob a has float and str"),
        ([{"a": None}], {}, "the knob a has no value"),
        ([{"a": 1}, {"a": 2}, {"a": 1.0}], {}, r"rows 0 and 2 .* are both \{'a': 1.0\}"),
        ([{"a": 1}], {"gflop": [1.0, 2.0]}, r"gflop has shape \(2,\).* each of 1 rows"),
    ],
)
def test_what_is_no_table_is_refused(rows, costs, message):
    with pytest.raises(ConfigError, match=message):
        TableSet(rows, costs)


@pytest.mark.parametrize("module", [random, support_points], ids=lambda m: m.__name__)
def test_proposers_go_through_a_table_row_by_row(module):
    space, observed = toy_table(), []
    proposer = module.make((LOSS, COMPUTE), module.Options())
    for i in range(41):
        for design in proposer.ask(space, observed, [], 1, np.random.default_rng(i)):
            observed.append(succeeded(design))
    assert {key_of(o.design) for o in observed} == {key_of(d) for d in space.designs}
    assert len(observed) == 40
