"""What of FSDP's messages is not hidden behind computing, under one simple rule. N designs.

The device computes unit after unit while its links are busy with the neighbours': in forward the
next unit's weights come in; in backward those of the unit before, while the gradients of the unit
after go out, to ranks that share the weights and to replicas. In each such slot the longer of
computing and sending counts. Nothing hides the root's weights before forward and its gradients
after backward. The root is what is not a layer: inputs and heads. What else is sent meanwhile finds
the links busy with these messages: it has only the rest of the time of computing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cost_models.exact import Array

_ONE, _ZERO = np.ones(1), np.zeros(1)


@dataclass(frozen=True, kw_only=True)
class UnitTime:
    """Seconds of one unit, or of each of several alike: arrays (..., N) or (..., 1).

    Attributes:
        forward_s, backward_s: of computing.
        gather_s: until the rank has its weights.
        scatter_s: until it has its share of the sum of their gradients.
        replicate_s: until replicas have summed up these shares.
        repeats: units alike, (N,) or (1,); 0 for layers after a design's last.
    """

    forward_s: Array
    backward_s: Array
    gather_s: Array
    scatter_s: Array
    replicate_s: Array
    repeats: Array


class Exposed(NamedTuple):
    """Seconds of a step, arrays (..., N) or (..., 1).

    Attributes:
        fsdp_s: that gathering and scattering add.
        replicas_s: that sums over replicas add.
        hidden_s: of computing during which any of them is sent.
    """

    fsdp_s: Array
    replicas_s: Array
    hidden_s: Array


@dataclass(frozen=True)
class _Slot:
    """A time of computing, what is sent meanwhile, and how often it comes."""

    computing_s: Array
    fsdp_s: Array
    replicate_s: Array
    times: Array


def exposed(units: Sequence[UnitTime]) -> Exposed:
    """Return what sending adds to a step, and what computing hides of it.

    Args:
        units: the inputs, the layers, the heads; the messages of inputs and heads are the root's.
    """
    fsdp_s, replicas_s, hidden_s = _ZERO, _ZERO, _ZERO
    for slot in (*_forward(units[:-1]), *_backward(units)):
        sent_s = slot.fsdp_s + slot.replicate_s
        # A share of what is sent: nothing where nothing is.
        share = np.maximum(sent_s - slot.computing_s, 0.0) / np.where(sent_s > 0, sent_s, 1.0)
        fsdp_s = fsdp_s + slot.times * share * slot.fsdp_s
        replicas_s = replicas_s + slot.times * share * slot.replicate_s
        hidden_s = hidden_s + slot.times * np.minimum(sent_s, slot.computing_s)
    return Exposed(fsdp_s, replicas_s, hidden_s)


def _forward(units: Sequence[UnitTime]) -> Iterator[_Slot]:
    root = units[0]
    yield _Slot(_ZERO, root.gather_s, _ZERO, _ONE)
    for before, unit in itertools.pairwise(units):
        first = np.minimum(unit.repeats, 1)
        yield _Slot(before.forward_s, unit.gather_s, _ZERO, first)
        yield _Slot(unit.forward_s, unit.gather_s, _ZERO, unit.repeats - first)


def _backward(units: Sequence[UnitTime]) -> Iterator[_Slot]:
    root, *layers, heads = units
    # The unit that computes, the gradients that leave meanwhile, and those that it makes.
    computing_s, leaving, made = heads.backward_s, (_ZERO, _ZERO), (_ZERO, _ZERO)
    for unit in reversed(layers):
        own = (unit.scatter_s, unit.replicate_s)
        first = np.minimum(unit.repeats, 1)
        second = np.minimum(np.maximum(unit.repeats - 1, 0), 1)
        yield _slot(computing_s, unit.gather_s, leaving, first)
        yield _slot(unit.backward_s, unit.gather_s, made, second)
        yield _slot(unit.backward_s, unit.gather_s, own, unit.repeats - first - second)
        computing_s = np.where(first > 0, unit.backward_s, computing_s)
        leaving = _where(second > 0, own, _where(first > 0, made, leaving))
        made = _where(first > 0, own, made)
    yield _slot(computing_s, _ZERO, leaving, _ONE)
    yield _slot(root.backward_s, _ZERO, made, _ONE)
    yield _slot(_ZERO, root.scatter_s, (_ZERO, root.replicate_s), _ONE)


def _slot(
    computing_s: Array, gather_s: Array, gradients_s: tuple[Array, Array], times: Array
) -> _Slot:
    scatter_s, replicate_s = gradients_s
    return _Slot(computing_s, gather_s + scatter_s, replicate_s, times)


def _where(on: Array, one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    scatter_s, replicate_s = (np.where(on, a, b) for a, b in zip(one, other, strict=True))
    return scatter_s, replicate_s
