import dataclasses
import os
import pickle
import subprocess
import sys

import pytest

from codesign.errors import ConfigError
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import (
    LayerShape,
    TableGroup,
    TableOverride,
    TableSpec,
    WukongConfig,
    input_rows,
    layer_shapes,
    table_specs,
)

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="user", cardinality=100),
        CategoricalFeature(name="genre", cardinality=18, multi_hot=True, pooling="mean"),
        CategoricalFeature(name="hour", cardinality=24),
        CategoricalFeature(name="item", cardinality=500),
    ),
    dense=("age", "price", "score"),
)


def test_a_design_of_scalars_maps_one_to_one_on_the_fields():
    design = {"layers": 2, "n_F": 8, "n_L": 4, "k": 6, "mlp_depth": 2, "mlp_width": 32, "d": 16}
    config = WukongConfig(**design, dropout=0.3, fm="plain", mlp_bias=False)
    fields = dataclasses.asdict(config)
    assert {name: fields[name] for name in design} == design
    assert (config.dropout, config.fm, config.mlp_bias) == (0.3, "plain", False)


def test_rows_flow_from_layer_to_layer_with_per_layer_widths():
    config = WukongConfig(
        layers=3,
        n_F=(8, 4, 2),
        n_L=(8, 4, 6),
        k=(5, 6, 7),
        mlp_depth=(1, 2, 3),
        mlp_width=(9, 8, 7),
    )
    assert layer_shapes(config, 10) == (
        LayerShape(n_in=10, n_F=8, n_L=8, k=5, mlp_hidden=(9,)),
        LayerShape(n_in=16, n_F=4, n_L=4, k=6, mlp_hidden=(8, 8)),
        LayerShape(n_in=8, n_F=2, n_L=6, k=7, mlp_hidden=(7, 7, 7)),
    )
    assert [s.mixes_residual for s in layer_shapes(config, 10)] == [True, True, False]


def test_the_plain_form_has_as_many_columns_as_rows():
    config = WukongConfig(layers=2, n_F=3, n_L=2, k=99, fm="plain")
    assert [s.k for s in layer_shapes(config, 7)] == [7, 5]


def test_every_categorical_feature_owns_one_row_of_width_d_unless_told_otherwise():
    config = WukongConfig(d=16)
    assert input_rows(config, SCHEMA) == 4 + 1
    assert table_specs(config, SCHEMA) == (
        TableSpec(feature="user", cardinality=100, width=16, multi_hot=False, pooling="sum"),
        TableSpec(feature="genre", cardinality=18, width=16, multi_hot=True, pooling="mean"),
        TableSpec(feature="hour", cardinality=24, width=16, multi_hot=False, pooling="sum"),
        TableSpec(feature="item", cardinality=500, width=16, multi_hot=False, pooling="sum"),
    )


def test_an_override_widens_its_table_and_a_group_narrows_its_tables():
    config = WukongConfig(
        d=16,
        tables=(TableOverride(feature="item", rows=3),),
        table_groups=(TableGroup(features=("hour", "genre"), width=4, rows=2),),
    )
    assert input_rows(config, SCHEMA) == (1 + 3) + 2 + 1
    assert [(s.feature, s.width) for s in table_specs(config, SCHEMA)] == [
        ("user", 16),
        ("genre", 4),
        ("hour", 4),
        ("item", 48),
    ]


@pytest.mark.parametrize("mode, rows", [("mlp", 2), ("linear", 2), ("per_feature", 3)])
def test_dense_features_fill_rows_as_their_mode_says(mode, rows):
    config = WukongConfig(dense_mode=mode, dense_rows=2)
    assert input_rows(config, SCHEMA) == 4 + rows
    without_dense = dataclasses.replace(SCHEMA, dense=())
    assert input_rows(config, without_dense) == 4


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"layers": 0}, "layers is 0; must be an integer ≥ 1"),
        ({"n_F": True}, "n_F is True; must be an integer ≥ 1, or a tuple of them"),
        ({"d": 16.0}, "d is 16.0; must be an integer ≥ 1"),
        ({"k": (4, 4, 4)}, "k has 3 entries; must have layers = 2"),
        (
            {"head_width": (4,), "head_depth": 2},
            "head_width has 1 entries; must have head_depth = 2",
        ),
        ({"fm": "low"}, "fm is 'low'; must be one of low_rank, plain"),
        ({"dropout": 1.0}, "dropout is 1.0; must be in [0, 1)"),
        ({"head_dropout": -0.1}, "head_dropout is -0.1; must be in [0, 1), or None"),
        ({"ln_eps": 0.0}, "ln_eps is 0.0; must be > 0"),
        ({"table_init_std": float("nan")}, "table_init_std is nan; must be > 0"),
        ({"attentive_y": True, "fm": "plain"}, "attentive_y is True with fm 'plain'"),
        ({"tables": (TableOverride(feature="a", rows=0),)}, "a has rows 0"),
        ({"table_groups": (TableGroup(features=(), width=4),)}, "table_groups[0] has no features"),
        (
            {
                "tables": (TableOverride(feature="a"),),
                "table_groups": (TableGroup(features=("a",), width=4),),
            },
            "features named twice in tables and table_groups: a",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_was_found(wrong, message):
    with pytest.raises(ConfigError) as caught:
        WukongConfig(**wrong)
    assert message in str(caught.value)


def test_all_mistakes_come_in_one_error():
    with pytest.raises(ConfigError) as caught:
        WukongConfig(layers=0, n_F=0, dropout=2.0, y_init="ones")
    assert [line.split(" is ")[0] for line in caught.value.what.splitlines()] == [
        "layers",
        "n_F",
        "dropout",
        "y_init",
    ]


def test_naming_a_feature_that_the_data_lacks_lists_those_it_has():
    config = WukongConfig(tables=(TableOverride(feature="itm", rows=2),))
    with pytest.raises(ConfigError, match="name itm; the categorical features are user, genre"):
        input_rows(config, SCHEMA)


def test_shapes_are_counted_without_torch_and_models_built_without_torchrec():
    code = (
        "import sys; import wukong.shape; assert 'torch' not in sys.modules and 'numpy' not in "
        "sys.modules; sys.modules['torchrec'] = None; import wukong.model, wukong.parity"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


KEYED = """
import pickle, sys
schema = pickle.loads(sys.stdin.buffer.read())
assert schema in {pickle.loads(pickle.dumps(schema)): 1}
assert hash(schema) == hash(type(schema).from_json(schema.to_json()))
"""


def test_a_schema_that_came_from_another_process_is_found_by_what_it_holds() -> None:
    hash(SCHEMA)
    done = subprocess.run(
        [sys.executable, "-c", KEYED],
        input=pickle.dumps(SCHEMA),
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
