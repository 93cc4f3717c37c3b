"""Optimizers for parameters with ordinary gradients, and the learning-rate schedule.

Weight decay is *coupled* everywhere: gradient += l2 · weight at every step, for every row of a
table, looked up or not. It is the gradient of l2 / 2 · ‖W‖², as in FuxiCTR's regularizers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class OptimizerLike(Protocol):
    """What the training loop asks of an optimizer; each group has an `lr` that may be set."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None:
        """Forget the gradients; called before every backward pass."""

    def step(self) -> Any:
        """Update the parameters; called after every backward pass."""


class RowWiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one accumulator per row: the mean of its squared gradients.

    For a row w with gradient g, over D columns (FBGEMM's EXACT_ROWWISE_ADAGRAD):
    s += mean_D(g²);  w -= lr · g / (√s + eps).

    Args:
        params: matrices (rows, D).
        lr: learning rate, > 0.
        l2: coupled weight decay, ≥ 0.
        eps: added to the root of the accumulator.
    """

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, l2: float = 0.0, eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "l2": l2, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. `closure` is not supported."""
        if closure is not None:
            raise ConfigError("RowWiseAdagrad takes no closure; call backward before step")
        for group in self.param_groups:
            for weight_ND in group["params"]:
                if weight_ND.grad is not None:
                    self._update(weight_ND, group)

    def _update(self, weight_ND: Tensor, group: dict[str, Any]) -> None:
        grad_ND = weight_ND.grad
        assert grad_ND is not None
        if group["l2"]:
            grad_ND = grad_ND.add(weight_ND, alpha=group["l2"])
        state = self.state[weight_ND]
        if not state:
            state["sum_N"] = torch.zeros_like(weight_ND[:, 0])
        sum_N = state["sum_N"].add_(grad_ND.square().mean(dim=1))
        scale_N = sum_N.sqrt().add_(group["eps"]).reciprocal_()
        weight_ND.addcmul_(grad_ND, scale_N[:, None], value=-group["lr"])


def _adam(params: Sequence[nn.Parameter], lr: float, l2: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=lr, weight_decay=l2, fused=True)


def _rowwise_adagrad(params: Sequence[nn.Parameter], lr: float, l2: float) -> RowWiseAdagrad:
    return RowWiseAdagrad(params, lr=lr, l2=l2)


def _sgd(params: Sequence[nn.Parameter], lr: float, l2: float) -> torch.optim.Optimizer:
    # Of weights in shards torch has no fused update by SGD.
    fused = not any(isinstance(weight, DTensor) for weight in params)
    return torch.optim.SGD(params, lr=lr, weight_decay=l2, fused=fused)


OPTIMIZERS: dict[str, Callable[[Sequence[nn.Parameter], float, float], torch.optim.Optimizer]] = {
    "adam": _adam,
    "rowwise_adagrad": _rowwise_adagrad,
    "sgd": _sgd,
}


def build_optimizer(
    name: str, params: Sequence[nn.Parameter], *, lr: float, l2: float = 0.0
) -> torch.optim.Optimizer:
    """Build the optimizer called `name` for parameters with ordinary (dense) gradients.

    Raises:
        ConfigError: where there is no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer {name!r} is unknown; one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](params, lr, l2)


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer keeps of each weight, by the weight's place, sharing its memory.

    A weight without a state, for want of a gradient so far, gets the one that it would begin with.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    found: dict[str, Tensor] = {}
    for i, weight in enumerate(weights):
        state = optimizer.state[weight]
        if not state:
            state.update(_first_state(optimizer, weight))
        found |= {f"{i}.{name}": value for name, value in state.items()}
    return found


def _first_state(optimizer: torch.optim.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    if isinstance(optimizer, torch.optim.Adam):
        return {
            "step": torch.zeros((), device=weight.device),
            "exp_avg": torch.zeros_like(weight, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(weight, requires_grad=False),
        }
    if isinstance(optimizer, RowWiseAdagrad):
        return {"sum_N": torch.zeros_like(weight.detach()[:, 0])}
    return {}


class LearningRateSchedule:
    """Linear warm-up to each group's own rate, linear decay at the end, steps down at plateaus.

    Args:
        optimizers: whose groups' `lr` is set; their present values are the full rates.
        warmup_steps: step s (from 0) runs at min(1, (s + 1) / warmup_steps) of the rate.
        steps: of the whole run; the last `decay_steps` run at (steps - s) / (decay_steps + 1)
            of the rate, which reaches 0 one step after the run.
        plateau_factor: multiplies all rates at a plateau; 1 turns it off.
        plateau_patience: evaluations in a row without improvement that make a plateau, ≥ 1.
    """

    def __init__(
        self,
        optimizers: Sequence[OptimizerLike],
        *,
        steps: int,
        warmup_steps: int = 0,
        decay_steps: int = 0,
        plateau_factor: float = 1.0,
        plateau_patience: int = 1,
    ) -> None:
        self.scale = 1.0
        # By place: an optimizer that loads a state replaces its groups.
        self._full = [
            (optimizer, i, group["lr"])
            for optimizer in optimizers
            for i, group in enumerate(optimizer.param_groups)
        ]
        self._steps = steps
        self._warmup_steps = warmup_steps
        self._decay_steps = decay_steps
        self._factor = plateau_factor
        self._patience = plateau_patience
        self._stale = 0

    def before_step(self, step: int) -> None:
        """Set the learning rates of step `step`, counted from 0."""
        warmup = min(1.0, (step + 1) / max(1, self._warmup_steps))
        decay = min(1.0, (self._steps - step) / (self._decay_steps + 1))
        for optimizer, i, full_lr in self._full:
            optimizer.param_groups[i]["lr"] = full_lr * warmup * decay * self.scale

    def after_evaluation(self, improved: bool) -> None:
        """Count an evaluation; lower the rates where it ends a plateau."""
        self._stale = 0 if improved else self._stale + 1
        if self._stale == self._patience:
            self.scale *= self._factor
            self._stale = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what plateaus have changed so far."""
        return {"scale": self.scale, "stale": self._stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another schedule with the same arguments stood."""
        self.scale, self._stale = state_dict["scale"], state_dict["stale"]
