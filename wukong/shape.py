"""The shape of a Wukong model: every knob and switch, and the sizes that follow from them.

Standard library only, so that exact costs are counted without torch. Source: "Wukong: Towards a
Scaling Law for Large-Scale Recommendation" (arXiv 2403.02545), section 3, unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wukong.schema import InputSchema

FactorizationMachine = Literal["low_rank", "plain"]
MlpNorm = Literal["none", "layer", "batch"]
HeadNorm = Literal["none", "batch"]
DenseMode = Literal["mlp", "linear", "per_feature"]
YInit = Literal["normal", "kaiming_uniform"]
LinearInit = Literal["uniform", "xavier_normal"]
MixInit = Literal["uniform", "xavier_normal", "kaiming_uniform"]

PerLayer = int | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TableOverride:
    """A feature that owns `rows` rows of X_0 (multi-embedding): its table is rows·d wide."""

    feature: str
    rows: int = 1


@dataclass(frozen=True, kw_only=True)
class TableGroup:
    """Features with narrow tables, concatenated and projected together to `rows` rows of X_0.

    Attributes:
        features: the features of the group, in the order in which they are concatenated.
        width: columns of each one's table.
        rows: rows of X_0 that the group fills.
        hidden: widths of the hidden layers of the projecting MLP; empty for one linear map.
    """

    features: tuple[str, ...]
    width: int
    rows: int = 1
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One embedding table. It holds cardinality × width weights."""

    feature: str
    cardinality: int
    width: int
    multi_hot: bool
    pooling: Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """The sizes of one Wukong layer.

    Attributes:
        n_in, n_F, n_L: rows of its input, of its FMB and of its LCB.
        k: columns of its FM matrix: the rank, or n_in for the plain form.
        mlp_hidden: widths of the hidden layers of its FMB MLP.
    """

    n_in: int
    n_F: int
    n_L: int
    k: int
    mlp_hidden: tuple[int, ...]

    @property
    def n_out(self) -> int:
        """Rows of its output, n_F + n_L."""
        return self.n_F + self.n_L

    @property
    def mixes_residual(self) -> bool:
        """Whether the residual path is a learned mix over rows, not the identity."""
        return self.n_in != self.n_out


@dataclass(frozen=True, kw_only=True)
class WukongConfig:
    """One Wukong model. The defaults are the paper's form; every other value is a switch.

    `n_F`, `n_L`, `k`, `mlp_depth` and `mlp_width` are one integer for all layers or a tuple with
    one for each.

    Attributes:
        layers: Wukong layers, l ≥ 1.
        n_F, n_L: rows made by the factorization machine block and by the linear compress block.
        k: columns of Y in the low-rank factorization machine; unused by the plain form.
        mlp_depth, mlp_width: hidden layers (≥ 1) of each FMB MLP, and their width.
        d: width of every row.
        fm: `low_rank` is X(XᵀY), `plain` is XXᵀ.
        attentive_y: whether Y = Y_0 + reshape(MLP(flatten(W_c X))), W_c: attentive_rows × n_in
            without bias, and the MLP has one hidden ReLU layer of attentive_width. The paper
            offers the option in one sentence and gives no sizes.
        mlp_output_activation: a ReLU after the last linear map of each FMB MLP.
        mlp_norm: norm after each hidden linear map of the FMB MLPs, before its ReLU.
        mlp_bias: whether the linear maps of the FMB MLPs have a bias.
        residual_bias: whether the residual mix has a bias for each output row. The layer norm over
            d takes it out again, so it changes nothing but the list of weights.
        y_init: `normal` is N(0, 1); `kaiming_uniform` is U(±sqrt(6 / k)).
        mix_init, linear_init: how W_L and the residual mix, and how every other linear map, start.
            `uniform` is U(±1/sqrt(fan-in)), torch's default, biases too; `xavier_normal` is
            N(0, 2 / (fan-in + fan-out)), biases 0; `kaiming_uniform` is U(±sqrt(6 / fan-out)):
            code that stores these weights transposed takes the one fan for the other.
        ln_eps: epsilon of every layer norm.
        dropout: after each hidden activation of the FMB MLPs and of the heads, in [0, 1).
        head_dropout: the same for the heads alone, where it differs.
        dense_rows: rows of X_0 made from the dense features (not in mode `per_feature`).
        dense_mode: `mlp` is a bottom MLP over all dense features; `linear` is one linear map;
            `per_feature` is one Linear(1, d) and one row for each.
        dense_bias: whether the last (or only) linear map over the dense features has a bias.
        bottom_depth, bottom_width: hidden layers (≥ 0) of the bottom MLP, and their width, or a
            tuple with the width of each.
        bottom_output_activation: a ReLU after the last linear map of the bottom MLP.
        dense_first: the dense rows come first in X_0, not last.
        head_depth, head_width: the same for each head, the MLP that makes the logit of one task.
        head_norm: norm after each hidden linear map of a head, before its ReLU.
        table_init_std: tables start as N(0, std²). The first factorization machine's output
            grows with std²: at 1e-4 its variance lies far below `ln_eps`, so the layer norm
            that follows hands on almost nothing and the first FMB starts switched off; at 1e-2
            it hands on a standard deviation of order one.
        tables: features that own several rows.
        table_groups: features with narrow tables.
    """

    layers: int = 2
    n_F: PerLayer = 16
    n_L: PerLayer = 16
    k: PerLayer = 24
    mlp_depth: PerLayer = 2
    mlp_width: PerLayer = 512
    d: int = 64
    fm: FactorizationMachine = "low_rank"
    attentive_y: bool = False
    attentive_rows: int = 8
    attentive_width: int = 64
    mlp_output_activation: bool = False
    mlp_norm: MlpNorm = "none"
    mlp_bias: bool = True
    residual_bias: bool = False
    y_init: YInit = "normal"
    mix_init: MixInit = "uniform"
    linear_init: LinearInit = "uniform"
    ln_eps: float = 1e-5
    dropout: float = 0.0
    head_dropout: float | None = None
    dense_rows: int = 1
    dense_mode: DenseMode = "mlp"
    dense_bias: bool = True
    bottom_depth: int = 2
    bottom_width: PerLayer = 256
    bottom_output_activation: bool = False
    dense_first: bool = False
    head_depth: int = 2
    head_width: PerLayer = 256
    head_norm: HeadNorm = "none"
    table_init_std: float = 1e-2
    tables: tuple[TableOverride, ...] = ()
    table_groups: tuple[TableGroup, ...] = ()

    def __post_init__(self) -> None:
        mistakes = [
            *_size_mistakes(self),
            *_rate_mistakes(self),
            *_choice_mistakes(self),
            *_table_mistakes(self),
        ]
        if mistakes:
            raise ConfigError("\n".join(mistakes), where="WukongConfig")

    @property
    def bottom_hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers of the bottom MLP."""
        return tuple(_at(self.bottom_width, i) for i in range(self.bottom_depth))

    @property
    def head_hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers of each head."""
        return tuple(_at(self.head_width, i) for i in range(self.head_depth))


def layer_shapes(config: WukongConfig, n_0: int) -> tuple[LayerShape, ...]:
    """Return the sizes of each layer, first to last, for an input of `n_0` rows."""
    shapes: list[LayerShape] = []
    n_in = n_0
    for i in range(config.layers):
        depth = _at(config.mlp_depth, i)
        shape = LayerShape(
            n_in=n_in,
            n_F=_at(config.n_F, i),
            n_L=_at(config.n_L, i),
            k=_at(config.k, i) if config.fm == "low_rank" else n_in,
            mlp_hidden=(_at(config.mlp_width, i),) * depth,
        )
        shapes.append(shape)
        n_in = shape.n_out
    return tuple(shapes)


def dense_row_count(config: WukongConfig, schema: InputSchema) -> int:
    """Return how many rows of X_0 come from the dense features."""
    if not schema.dense:
        return 0
    return len(schema.dense) if config.dense_mode == "per_feature" else config.dense_rows


def table_rows(config: WukongConfig, schema: InputSchema) -> dict[str, int]:
    """Return the rows of X_0 that each ungrouped categorical feature owns, in schema order.

    Raises:
        ConfigError: `tables` or `table_groups` name a feature that is not categorical here.
    """
    known = [f.name for f in schema.categorical]
    rows = {t.feature: t.rows for t in config.tables}
    grouped = {name for group in config.table_groups for name in group.features}
    unknown = sorted((rows.keys() | grouped) - set(known))
    if unknown:
        raise ConfigError(
            f"tables or table_groups name {', '.join(unknown)}; "
            f"the categorical features are {', '.join(known) or '(none)'}",
            where="WukongConfig",
        )
    return {name: rows.get(name, 1) for name in known if name not in grouped}


@lru_cache(maxsize=256)
def input_rows(config: WukongConfig, schema: InputSchema) -> int:
    """Return n_0, the rows of X_0. Raises ConfigError where config and schema do not fit."""
    own = sum(table_rows(config, schema).values())
    grouped = sum(group.rows for group in config.table_groups)
    return own + grouped + dense_row_count(config, schema)


@lru_cache(maxsize=256)
def table_specs(config: WukongConfig, schema: InputSchema) -> tuple[TableSpec, ...]:
    """Return the embedding tables, in the order of `schema.categorical`.

    Raises:
        ConfigError: config and schema do not fit.
    """
    widths = {name: rows * config.d for name, rows in table_rows(config, schema).items()}
    for group in config.table_groups:
        widths |= dict.fromkeys(group.features, group.width)
    return tuple(
        TableSpec(
            feature=f.name,
            cardinality=f.cardinality,
            width=widths[f.name],
            multi_hot=f.multi_hot,
            pooling=f.pooling,
        )
        for f in schema.categorical
    )


def _at(value: PerLayer, layer: int) -> int:
    return value[layer] if isinstance(value, tuple) else value


def _is_int(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _size_mistakes(c: WukongConfig) -> Iterator[str]:
    lows = {
        "layers": 1,
        "d": 1,
        "attentive_rows": 1,
        "attentive_width": 1,
        "dense_rows": 1,
        "bottom_depth": 0,
        "head_depth": 0,
    }
    for name, low in lows.items():
        if not _is_int(getattr(c, name), low):
            yield f"{name} is {getattr(c, name)!r}; must be an integer ≥ {low}"
    counts = dict.fromkeys(("n_F", "n_L", "k", "mlp_depth", "mlp_width"), "layers")
    counts |= {"bottom_width": "bottom_depth", "head_width": "head_depth"}
    for name, count in counts.items():
        value = getattr(c, name)
        each = value if isinstance(value, tuple) else (value,)
        if not all(_is_int(one, 1) for one in each):
            yield f"{name} is {value!r}; must be an integer ≥ 1, or a tuple of them"
        elif isinstance(value, tuple) and len(value) != getattr(c, count):
            yield f"{name} has {len(value)} entries; must have {count} = {getattr(c, count)!r}"


def _rate_mistakes(c: WukongConfig) -> Iterator[str]:
    if not 0 <= c.dropout < 1:
        yield f"dropout is {c.dropout!r}; must be in [0, 1)"
    if c.head_dropout is not None and not 0 <= c.head_dropout < 1:
        yield f"head_dropout is {c.head_dropout!r}; must be in [0, 1), or None for dropout's value"
    if not c.ln_eps > 0:
        yield f"ln_eps is {c.ln_eps!r}; must be > 0"
    if not c.table_init_std > 0:
        yield f"table_init_std is {c.table_init_std!r}; must be > 0"


def _choice_mistakes(c: WukongConfig) -> Iterator[str]:
    choices = {
        "fm": FactorizationMachine,
        "mlp_norm": MlpNorm,
        "head_norm": HeadNorm,
        "dense_mode": DenseMode,
        "y_init": YInit,
        "mix_init": MixInit,
        "linear_init": LinearInit,
    }
    for name, allowed in choices.items():
        if getattr(c, name) not in get_args(allowed):
            yield f"{name} is {getattr(c, name)!r}; must be one of {', '.join(get_args(allowed))}"
    if c.attentive_y and c.fm == "plain":
        yield "attentive_y is True with fm 'plain', which has no Y; use fm 'low_rank'"


def _table_mistakes(c: WukongConfig) -> Iterator[str]:
    for t in c.tables:
        if not _is_int(t.rows, 1):
            yield f"tables: {t.feature} has rows {t.rows!r}; must be an integer ≥ 1"
    for i, group in enumerate(c.table_groups):
        if not group.features:
            yield f"table_groups[{i}] has no features; must have at least one"
        for name, value in (("width", group.width), ("rows", group.rows)):
            if not _is_int(value, 1):
                yield f"table_groups[{i}].{name} is {value!r}; must be an integer ≥ 1"
        if not all(_is_int(width, 1) for width in group.hidden):
            yield f"table_groups[{i}].hidden is {group.hidden!r}; must hold integers ≥ 1"
    named = [t.feature for t in c.tables] + [f for g in c.table_groups for f in g.features]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        yield f"features named twice in tables and table_groups: {', '.join(twice)}"
