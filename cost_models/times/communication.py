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
from cost_models.times.messages import Message

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
        within = dict.fromkeys(("link_bytes_per_s", "link_latency_s"), 1.0)
        between = dict.fromkeys(("network_bytes_per_s", "network_latency_s"), 1.0)
        if node > 1:
            within = {key: _needed(hardware, key, ranks) for key in within}
        if ranks > node:
            between = {key: _needed(hardware, key, ranks) for key in between}
        return cls(devices_per_node=node, **within, **between)

    def group(self, size: int, *, stride: int = 1) -> Group:
        """Return a group of `size` ranks, each `stride` ranks after the one before."""
        on_node = min(size, max(1, self.devices_per_node // stride))
        return Group(nodes=-(-size // on_node), on_node=on_node)

    def seconds(self, message: Message) -> Array:
        """Return how long all such messages of a step take, (N,) or (1,); 0 within one rank."""
        group, size = self.group(message.ranks, stride=message.stride), message.size_bytes
        # An exchange sends all that leaves a node to it; a gather has one node's part do so.
        leaving = size if message.collective == "all_to_all" else size / group.on_node
        once_s = self._rings_s(group, size, leaving)
        rounds = 2 if message.collective == "all_reduce" else 1
        return message.count * rounds * once_s

    def _rings_s(self, group: Group, within_bytes: Array, between_bytes: Array) -> Array:
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
