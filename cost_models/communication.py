"""How long ranks take to send each other something: latency and bandwidth of the slowest link.

W ranks lie densely on nodes: L of a group on each, N nodes. A collective runs in two levels, rings
within the nodes and rings among ranks of the same place on all nodes, its pieces pipelined through
both, so that

    seconds = (L - 1) · link latency + (N - 1) · network latency
              + max(bytes over a rank's link / link rate, bytes over its network port / port's rate)

An all-reduce is a reduce-scatter and an all-gather. Nothing of this was measured: links are taken
at an assumed share of their published rates, and no two collectives slow each other down. Sizes are
of N designs, (N,) or (1,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.errors import ConfigError
from cost_models.exact import Array
from cost_models.hardware import Figure, Hardware

# Of a link's published rate, and the standard deviation of log(measured / predicted).
ASSUMED_SHARE, ASSUMED_SIGMA = 0.8, 0.5


@dataclass(frozen=True, kw_only=True)
class Group:
    """Ranks that send each other something.

    Attributes:
        nodes: that they lie on, N ≥ 1.
        on_node: how many of them lie on each, L ≥ 1; the last node counts as full.
    """

    nodes: int
    on_node: int


@dataclass(frozen=True, kw_only=True)
class Links:
    """What joins a device to others, in one direction, and how long collectives take over it.

    Attributes:
        devices_per_node: ≥ 1.
        link_bytes_per_s, link_latency_s: to the others of its node.
        network_bytes_per_s, network_latency_s: to other nodes.
    """

    devices_per_node: int
    link_bytes_per_s: float
    link_latency_s: float
    network_bytes_per_s: float
    network_latency_s: float

    @classmethod
    def of(cls, hardware: Hardware, ranks: int) -> Links:
        """Read the links of a device, of which `ranks` train together.

        Raises:
            ConfigError: a figure is missing that so many ranks need.
        """
        node = int(_needed(hardware, "devices_per_node", ranks))
        within = {key: 1.0 for key in ("link_bytes_per_s", "link_latency_s")}
        between = {key: 1.0 for key in ("network_bytes_per_s", "network_latency_s")}
        if node > 1:
            within = {key: _needed(hardware, key, ranks) for key in within}
        if ranks > node:
            between = {key: _needed(hardware, key, ranks) for key in between}
        return cls(devices_per_node=node, **within, **between)

    def group(self, size: int, *, stride: int = 1) -> Group:
        """Return a group of `size` ranks, each `stride` ranks after the one before."""
        on_node = min(size, max(1, self.devices_per_node // stride))
        return Group(nodes=-(-size // on_node), on_node=on_node)

    def all_gather_s(self, size_bytes: Array, group: Group) -> Array:
        """Seconds until each rank has `size_bytes`, of which it had an equal share."""
        among_nodes = size_bytes / group.on_node
        return self._seconds(group, size_bytes, among_nodes)

    def reduce_scatter_s(self, size_bytes: Array, group: Group) -> Array:
        """Seconds until each rank has its share of the sum of `size_bytes` of every rank."""
        return self.all_gather_s(size_bytes, group)

    def all_reduce_s(self, size_bytes: Array, group: Group) -> Array:
        """Seconds until each rank has the sum of `size_bytes` of every rank."""
        return 2 * self.all_gather_s(size_bytes, group)

    def all_to_all_s(self, size_bytes: Array, group: Group) -> Array:
        """Seconds until a rank has sent `size_bytes`, an equal part to each rank, itself included.

        Parts for another node first go to the rank of the same place there.
        """
        return self._seconds(group, size_bytes, size_bytes)

    def _seconds(self, group: Group, within_bytes: Array, between_bytes: Array) -> Array:
        """Of two rings: `within_bytes` in a node, `between_bytes` among nodes, a part kept back."""
        hops, node_hops = group.on_node - 1, group.nodes - 1
        latency_s = hops * self.link_latency_s + node_hops * self.network_latency_s
        link_s = within_bytes * hops / group.on_node / self.link_bytes_per_s
        network_s = between_bytes * node_hops / group.nodes / self.network_bytes_per_s
        return latency_s + np.maximum(link_s, network_s) / ASSUMED_SHARE


def _needed(hardware: Hardware, key: str, ranks: int) -> float:
    figure: Figure | None = getattr(hardware, key)
    if figure is None:
        raise ConfigError(
            f"{key} is missing, and {ranks} devices train together",
            where=hardware.path,
            hint="add the figure with value, origin and source, or predict for fewer devices",
        )
    return figure.value
