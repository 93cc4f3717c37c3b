"""Sums of regression trees as short lines of text. U rows, F features, T trees.

A line is one tree in prefix order. `c17` is a split: feature `c`, by its place in `LETTERS`, at its
threshold number 17; rows whose value is at most the threshold go to the part that follows at once.
A signed number is a leaf, in units of `LEAF`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cost_models.exact import Array

LETTERS = string.ascii_letters + "!#$%&()*/:;<=>?@[]^_{|}~"
LEAF = 1e-4
_TOKEN = re.compile(rf"([{re.escape(LETTERS)}])(\d+)|([+-]\d+)")
_AT_ONCE = 1 << 20  # entries of a work array


@dataclass(frozen=True, kw_only=True)
class Trees:
    """T trees over one array of all their nodes; see `parse`.

    Attributes:
        root: (T,) the first node of each tree.
        feature, threshold: of each node; a leaf compares feature 0 with 0, to no avail.
        above: where the rows above the threshold go on; the rest goes to the node that follows. A
            leaf follows itself.
        below: see `above`.
        value: of each node; 0 but for leaves.
        depth: splits on the longest way.
    """

    root: Array
    feature: Array
    threshold: Array
    below: Array
    above: Array
    value: Array
    depth: int

    @classmethod
    def parse(cls, lines: Sequence[str], thresholds: Sequence[Array]) -> Trees:
        """Read trees.

        Args:
            lines: one for each tree.
            thresholds: of each feature.

        Raises:
            ValueError: a line is no tree.
            IndexError: a feature or a threshold is not there.
        """
        nodes: list[tuple[int, float, int, int, float]] = []
        roots, depth = [], 0
        for line in lines:
            roots.append(len(nodes))
            depth = max(depth, _append(nodes, line, thresholds))
        columns = [np.array(column) for column in zip(*nodes, strict=True)]
        feature, threshold, below, above, value = columns
        return cls(
            root=np.array(roots),
            feature=feature,
            threshold=threshold,
            below=below,
            above=above,
            value=value,
            depth=depth,
        )

    def __call__(self, features_UF: Array) -> Array:
        """Return each tree's value for each row, (U, T)."""
        rows = max(1, _AT_ONCE // len(self.root))
        pieces = [
            self._values(features_UF[at : at + rows]) for at in range(0, len(features_UF), rows)
        ]
        return np.concatenate(pieces) if pieces else np.zeros((0, len(self.root)))

    def _values(self, features_UF: Array) -> Array:
        flat, wide = features_UF.ravel(), features_UF.shape[1]
        first = np.arange(len(features_UF))[:, None] * wide
        node_UT = np.broadcast_to(self.root, (len(features_UF), len(self.root)))
        for _ in range(self.depth):
            is_above = flat[first + self.feature[node_UT]] > self.threshold[node_UT]
            node_UT = np.where(is_above, self.above[node_UT], self.below[node_UT])
        return self.value[node_UT]


def _append(
    nodes: list[tuple[int, float, int, int, float]], line: str, thresholds: Sequence[Array]
) -> int:
    """Add the nodes of one tree; return its depth."""
    open_splits: list[tuple[int, int]] = []  # splits whose second part is not yet reached
    depth = deepest = 0
    tokens = _TOKEN.findall(line)
    if "".join(map("".join, tokens)) != line or not line:
        raise ValueError(f"{line[:40]!r} is no tree")
    for place, (letter, number, leaf) in enumerate(tokens):
        at = len(nodes)
        if letter:
            feature = LETTERS.index(letter)
            threshold = float(thresholds[feature][int(number)])
            nodes.append((feature, threshold, at + 1, at, 0.0))
            depth += 1
            deepest = max(deepest, depth)
            open_splits.append((at, depth))
            continue
        nodes.append((0, 0.0, at, at, int(leaf) * LEAF))
        is_last = place == len(tokens) - 1
        if is_last != (not open_splits):
            raise ValueError(f"{line[:40]!r} is no tree")
        if open_splits:
            split, depth = open_splits.pop()
            nodes[split] = (*nodes[split][:3], at + 1, 0.0)
    if open_splits or tokens[-1][0]:
        raise ValueError(f"{line[:40]!r} is no tree")
    return deepest
