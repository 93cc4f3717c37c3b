"""What a model holds, by who trains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        state: name → tensor of everything outside the backends, buffers among it.
    """

    backends: Sequence[Tables]
    tables: Sequence[nn.Parameter]
    dense: Sequence[nn.Parameter]
    state: Mapping[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's parts of everything by name, sharing memory with the model."""
        found = {f"model.{name}": weight.detach() for name, weight in self.state.items()}
        for i, tables in enumerate(self.backends):
            parts = tables.sharded_weights().items()
            found |= {f"tables{i}.{name}": weight.detach() for name, weight in parts}
        return found

    def copy(self) -> dict[str, Tensor]:
        """Return `tensors` with memory of their own."""
        return {name: weight.clone() for name, weight in self.tensors().items()}

    def load(self, kept: Mapping[str, Tensor]) -> None:
        """Put back what `copy` returned."""
        for name, weight in self.tensors().items():
            weight.copy_(kept[name])


def split_weights(model: nn.Module) -> Weights:
    """Tell tables from all other weights. A weight that both use counts as a table's.

    Raises:
        ConfigError: an embedding makes sparse gradients, which no optimizer here takes.
    """
    backends = {name: m for name, m in model.named_modules() if isinstance(m, Tables)}
    inside = tuple(f"{name}." if name else "" for name in backends)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    state = {name: w for name, w in state.items() if not name.startswith(inside)}
    tables: dict[Tensor, None] = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and not name.startswith(inside):
            if module.sparse:
                raise ConfigError(f"the embedding {name!r} has sparse=True; must be False")
            tables[module.weight] = None
    weights = [w for w in state.values() if isinstance(w, nn.Parameter)]
    return Weights(
        backends=list(backends.values()),
        tables=[w for w in weights if w in tables],
        dense=[w for w in weights if w not in tables],
        state=state,
    )
