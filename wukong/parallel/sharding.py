"""A model made ready to train on all ranks: same weights, device, checkpointing, compiling, FSDP2.

At one process nothing is wrapped. Over ranks `fully_shard` wraps each Wukong layer, and as one
more group all that is left of the model; fused tables are none of its business. Gradients are
*summed* over ranks: each rank's loss is its part of the mean over the global batch.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from codesign.errors import ConfigError
from wukong.embeddings import Tables
from wukong.model import Wukong
from wukong.parallel.batch_norm import RanksBatchNorm, norm_over_ranks, statistics_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.distributed.device_mesh import DeviceMesh

    from wukong.parallel.ranks import Ranks
    from wukong.train_config import TrainConfig


def dense_mesh(config: TrainConfig, ranks: Ranks) -> DeviceMesh | None:
    """Return the mesh of (replicas, ranks that share one), or of the latter alone.

    None where there is one rank. Every rank must call it.

    Raises:
        ConfigError: `dense_shard_ranks` does not divide the ranks.
    """
    if ranks.world == 1:
        return None
    shard_ranks = config.dense_shard_ranks or ranks.world
    replicas, rest = divmod(ranks.world, shard_ranks)
    if rest or not replicas:
        divisors = [n for n in range(1, ranks.world + 1) if ranks.world % n == 0]
        raise ConfigError(
            f"dense_shard_ranks is {shard_ranks} with {ranks.world} ranks; must divide them: "
            f"one of {', '.join(map(str, divisors))}, or 0 for all"
        )
    if replicas == 1:
        return init_device_mesh(ranks.device.type, (ranks.world,), mesh_dim_names=("shard",))
    names = ("replicate", "shard")
    return init_device_mesh(ranks.device.type, (replicas, shard_ranks), mesh_dim_names=names)


def prepare(
    model: nn.Module, config: TrainConfig, ranks: Ranks, mesh: DeviceMesh | None
) -> nn.Module:
    """Change a model in place so that all ranks train it together; return what to call in training.

    Args:
        model: on the CPU but for fused tables.
        mesh: as `dense_mesh` returns it.

    Raises:
        ConfigError: settings that cannot be together with this model.
    """
    units = list(model.layers) if isinstance(model, Wukong) else [model]
    if config.batch_size == 1 and any(isinstance(m, _BatchNorm) for m in model.modules()):
        raise ConfigError("batch_size is 1 with a batch norm, which needs two; must be ≥ 2")
    if mesh or config.activation_checkpointing:
        norm_over_ranks(model, ranks)
    if config.activation_checkpointing:
        if not isinstance(model, Wukong):
            raise ConfigError(
                "activation_checkpointing is for Wukong's layers; must be false with a model of "
                "one's own, which may call torch.utils.checkpoint itself"
            )
        for layer in units:
            layer.forward = _checkpointed(layer)
    if mesh is None:
        model.to(ranks.device)
        return cast("nn.Module", torch.compile(model)) if config.compile else model
    for tensor in _own_tensors(model):
        dist.broadcast(tensor.detach(), 0)
    if config.compile:
        for unit in units:
            unit.forward = torch.compile(unit.forward)
    _shard(model, units, config, mesh)
    return model


@contextmanager
def whole_weights(*modules: nn.Module) -> Iterator[None]:
    """Gather the weights of sharded modules, so that their parts can be called one by one.

    What is not sharded is left as it is. Every rank must do it.
    """
    sharded = [module for module in modules if isinstance(module, FSDPModule)]
    for module in sharded:
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()


def _shard(model: nn.Module, units: list[nn.Module], config: TrainConfig, mesh: DeviceMesh) -> None:
    """Wrap each unit, and then the whole model; FSDP moves one after the other to its device."""
    summed_in = torch.bfloat16 if config.gradient_precision == "bf16" else torch.float32
    policy = MixedPrecisionPolicy(reduce_dtype=summed_in, cast_forward_inputs=False)
    fused = {w for module in _fused_modules(model) for w in module.parameters(recurse=False)}
    wrapped = [
        fully_shard(unit, mesh=mesh, mp_policy=policy) for unit in units if unit is not model
    ]
    wrapped.append(fully_shard(model, mesh=mesh, mp_policy=policy, ignored_params=fused))
    for module in wrapped:
        # A sum, and no mean of unequal parts; said twice, for gloo has no other reduction.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)


def _checkpointed(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the layer's forward, which keeps its input alone and computes the rest again."""
    forward = layer.forward
    norms = [module for module in layer.modules() if isinstance(module, RanksBatchNorm)]
    contexts: dict[str, Any] = {}
    if norms:
        contexts = {"context_fn": lambda: (nullcontext(), statistics_kept(norms))}

    def recomputed(x_BND: Tensor) -> Tensor:
        out_BMD: Tensor = checkpoint(forward, x_BND, use_reentrant=False, **contexts)
        return out_BMD

    return recomputed


def _fused_modules(model: nn.Module) -> set[nn.Module]:
    """Return the parts of tables that share themselves out over ranks."""
    tables = [m for m in model.modules() if isinstance(m, Tables) and m.is_sharded]
    return {module for fused in tables for module in fused.modules()}


def _own_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield the weights and buffers that every rank has in full before sharding."""
    fused = _fused_modules(model)
    for module in model.modules():
        if module not in fused:
            yield from module.parameters(recurse=False)
            yield from module.buffers(recurse=False)
