"""Orders in which any first part is a good sample of the whole."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
T = TypeVar("T")


def farthest_first(points_PF: Array, count: int) -> list[int]:
    """Order points so that each next one is farthest from all before it (Gonzalez, 1985).

    The first `count` points leave no hole more than twice as wide as any choice of as many would.

    Args:
        points_PF: features (P, F) in which distances are Euclidean.
        count: how many to order; all where there are fewer.

    Returns:
        Indices into the points; the first is nearest to their mean.
    """
    if not len(points_PF):
        return []
    chosen = int(np.argmin(_squared_distance(points_PF, points_PF.mean(axis=0))))
    order = [chosen]
    nearest_P = _squared_distance(points_PF, points_PF[chosen])
    while len(order) < min(count, len(points_PF)):
        chosen = int(np.argmax(nearest_P))
        if nearest_P[chosen] == 0:
            break  # only copies of chosen points are left
        order.append(chosen)
        nearest_P = np.minimum(nearest_P, _squared_distance(points_PF, points_PF[chosen]))
    return order


def _squared_distance(points_PF: Array, point_F: Array) -> Array:
    return np.square(points_PF - point_F).sum(axis=1)


def spread(values_P: Array, count: int) -> list[int]:
    """Order points so that any first part is even over the range of one value.

    The i-th is the one, of those left, nearest to the i-th term of van der Corput's sequence.

    Args:
        values_P: the value of each point (P,).
        count: how many to order; all where there are fewer.
    """
    order: list[int] = []
    left_P = np.array(values_P, dtype=float)
    low, high = (left_P.min(), left_P.max()) if len(left_P) else (0.0, 0.0)
    for i in range(min(count, len(left_P))):
        wanted = low + (high - low) * _van_der_corput(i + 1)
        chosen = int(np.argmin(np.abs(left_P - wanted)))
        order.append(chosen)
        left_P[chosen] = np.inf
    return order


def _van_der_corput(i: int) -> float:
    value, unit = 0.0, 0.5
    while i:
        value += unit * (i & 1)
        i, unit = i >> 1, unit / 2
    return value


def interleave(streams: Sequence[tuple[float, Sequence[T]]]) -> Iterator[T]:
    """Merge streams so that any first part holds each in proportion to its weight.

    Args:
        streams: (weight > 0, its items in order); a stream that ends leaves the rest to the others.
    """
    heap = [(0.5 / weight, i, 0) for i, (weight, items) in enumerate(streams) if items]
    heapq.heapify(heap)
    while heap:
        _, i, position = heapq.heappop(heap)
        weight, items = streams[i]
        yield items[position]
        if position + 1 < len(items):
            heapq.heappush(heap, ((position + 1.5) / weight, i, position + 1))
