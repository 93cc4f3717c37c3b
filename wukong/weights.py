"""What a model holds, by who trains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from codesign.errors import ConfigError
from wukong.embeddings import Tables


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights and buffers of one model.

    Attributes:
        backends: table backends, each with an optimizer of its own.
        tables: weights of `nn.Embedding` and `nn.EmbeddingBag`, trained as tables are.
        dense: all other weights.
        state: name → tensor of everything outside the backends that share themselves out over
            ranks, buffers among it.
    """

    backends: Sequence[Tables]
    tables: Sequence[nn.Parameter]
    dense: Sequence[nn.Parameter]
    state: Mapping[str, Tensor]

    def state_dict(self) -> dict[str, Any]:
        """Return everything by name; tensors may share memory with the model."""
        return {
            "state": {name: weight.detach() for name, weight in self.state.items()},
            "backends": [tables.weights() for tables in self._sharded()],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy what `state_dict` returned into the model."""
        for name, weight in self.state.items():
            weight.detach().copy_(state_dict["state"][name])
        for tables, kept in zip(self._sharded(), state_dict["backends"], strict=True):
            tables.load_weights(kept)

    def copy(self) -> dict[str, Any]:
        """Return `state_dict` with memory of its own."""
        found = self.state_dict()
        return {
            "state": {name: weight.clone() for name, weight in found["state"].items()},
            "backends": [
                {feature: table_RD.clone() for feature, table_RD in tables.items()}
                for tables in found["backends"]
            ],
        }

    def _sharded(self) -> list[Tables]:
        return [tables for tables in self.backends if tables.is_sharded]


def split_weights(model: nn.Module) -> Weights:
    """Tell tables from all other weights. A weight that both use counts as a table's.

    Raises:
        ConfigError: an embedding makes sparse gradients, which no optimizer here takes.
    """
    backends = {name: m for name, m in model.named_modules() if isinstance(m, Tables)}
    apart = tuple(f"{name}." if name else "" for name, m in backends.items() if m.is_sharded)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    state = {name: w for name, w in state.items() if not name.startswith(apart)}
    tables: dict[Tensor, None] = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and not name.startswith(apart):
            if module.sparse:
                raise ConfigError(f"the embedding {name!r} has sparse=True; must be False")
            tables[module.weight] = None
    theirs = {weight for backend in backends.values() for weight in backend.parameters()}
    weights = [w for w in state.values() if isinstance(w, nn.Parameter) and w not in theirs]
    return Weights(
        backends=list(backends.values()),
        tables=[w for w in weights if w in tables],
        dense=[w for w in weights if w not in tables],
        state=state,
    )
