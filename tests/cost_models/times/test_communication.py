"""Collectives' seconds, against pieces of data that are passed on rank by rank, ring by ring."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from codesign.errors import ConfigError
from cost_models.hardware import SHIPPED, load_hardware
from cost_models.times.communication import ASSUMED_SHARE, Links
from cost_models.times.messages import Collective, Message

H100 = Links.of(load_hardware("h100-sxm"), 1024)
COLLECTIVES: tuple[Collective, ...] = ("all_gather", "reduce_scatter", "all_reduce", "all_to_all")


class Cluster:
    """Ranks (node, place) that hold pieces; each ring passes pieces to the next rank of it.

    Attributes:
        rounds: kind of link → rounds of messages; sent: pieces over the busiest such link.
    """

    def __init__(self, nodes: int, places: int) -> None:
        self.ranks = [(node, place) for node in range(nodes) for place in range(places)]
        self.nodes, self.places = nodes, places
        self.rounds: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def next(self, rank: tuple[int, int], link: str) -> tuple[int, int]:
        node, place = rank
        if link == "port":
            return (node + 1) % self.nodes, place
        return node, (place + 1) % self.places

    def pass_on(self, held: dict[Any, set[Any]], link: str) -> None:
        """Each rank's pieces go all the way round its ring; `held`: rank → set of pieces."""
        length = self.nodes if link == "port" else self.places
        moving = {rank: set(pieces) for rank, pieces in held.items()}
        for _ in range(length - 1):
            self.rounds[link] += 1
            self.sent[link] += max(len(pieces) for pieces in moving.values())
            moving = {self.next(rank, link): pieces for rank, pieces in moving.items()}
            for rank, pieces in moving.items():
                held[rank] |= pieces

    def all_gather(self) -> int:
        """Gather one piece of each rank; return how many a whole result has."""
        held: dict[Any, set[Any]] = {rank: {rank} for rank in self.ranks}
        self.pass_on(held, "port")
        self.pass_on(held, "link")
        assert all(pieces == set(self.ranks) for pieces in held.values())
        return len(self.ranks)

    def all_to_all(self) -> int:
        """Exchange a piece of each rank for each rank, straight to one after the other.

        First within nodes to the place of the receiver, then between nodes.
        """
        held: dict[Any, set[Any]] = {rank: {(rank, to) for to in self.ranks} for rank in self.ranks}
        for link, axis, length in (("link", 1, self.places), ("port", 0, self.nodes)):
            arrived: dict[Any, set[Any]] = {rank: set() for rank in self.ranks}
            for distance in range(length):
                leaving = []
                for rank, pieces in held.items():
                    aim = (rank[axis] + distance) % length
                    going = {piece for piece in pieces if piece[1][axis] == aim}
                    to = (aim, rank[1]) if axis == 0 else (rank[0], aim)
                    arrived[to] |= going
                    leaving.append(len(going))
                if distance:
                    self.rounds[link] += 1
                    self.sent[link] += max(leaving)
            held = arrived
        assert all(to == rank for rank, pieces in held.items() for _, to in pieces)
        return len(self.ranks)


@pytest.mark.parametrize(("nodes", "places"), [(1, 1), (1, 4), (3, 1), (2, 4), (5, 3), (4, 8)])
@pytest.mark.parametrize("collective", ["all_gather", "all_to_all"])
def test_seconds_are_those_of_pieces_passed_on_one_by_one(
    collective: Collective, nodes: int, places: int
) -> None:
    cluster = Cluster(nodes, places)
    pieces = getattr(cluster, collective)()
    piece_bytes = 3e6
    links = Links(
        devices_per_node=places,
        link_bytes_per_s=7e9,
        link_latency_s=2e-6,
        network_bytes_per_s=1e9,
        network_latency_s=5e-6,
    )
    message = Message(
        collective=collective, ranks=nodes * places, size_bytes=np.array([pieces * piece_bytes])
    )
    latency_s = 2e-6 * cluster.rounds["link"] + 5e-6 * cluster.rounds["port"]
    busy_s = max(cluster.sent["link"] / 7e9, cluster.sent["port"] / 1e9) * piece_bytes
    expected_s = latency_s + busy_s / ASSUMED_SHARE
    assert links.seconds(message)[0] == pytest.approx(expected_s, rel=1e-12)


def of(collective: Collective, ranks: int, size_bytes: float, *, stride: int = 1) -> Message:
    return Message(
        collective=collective, ranks=ranks, size_bytes=np.array([size_bytes]), stride=stride
    )


def test_a_sum_for_all_is_a_scattered_sum_and_a_gather() -> None:
    scatter, gather, both = (
        H100.seconds(of(c, 24, 1e8)) for c in ("reduce_scatter", "all_gather", "all_reduce")
    )
    assert scatter == gather
    assert both == pytest.approx(scatter + gather)


@given(
    st.sampled_from(COLLECTIVES),
    st.integers(1, 1024),
    st.integers(1, 16),
    st.floats(0, 1e12),
    st.floats(1, 4),
)
def test_more_bytes_and_slower_links_never_take_less_time_and_one_rank_none(
    collective: Collective, ranks: int, stride: int, size_bytes: float, more: float
) -> None:
    message = of(collective, ranks, size_bytes, stride=stride)
    seconds = H100.seconds(message)
    assert H100.seconds(of(collective, 1, size_bytes, stride=stride)) == 0
    assert (seconds > 0) == (ranks > 1)
    assert H100.seconds(of(collective, ranks, more * size_bytes, stride=stride)) >= seconds
    assert H100.seconds(of(collective, ranks + 1, size_bytes, stride=stride)) >= seconds * 0.999
    for name, factor in (
        ("link_bytes_per_s", 1 / more),
        ("network_bytes_per_s", 1 / more),
        ("link_latency_s", more),
        ("network_latency_s", more),
    ):
        slower = dataclasses.replace(H100, **{name: factor * getattr(H100, name)})
        assert slower.seconds(message) >= seconds


def test_replicas_of_a_node_each_have_a_port_and_no_link() -> None:
    """Eight replicas, one on each node, send nothing within a node; within one node no port."""
    apart, together = of("all_reduce", 8, 1e9, stride=8), of("all_reduce", 8, 1e9)
    ports = 2 * (7 * 4.0e-6 + 7 / 8 * 1e9 / 50e9 / ASSUMED_SHARE)
    links = 2 * (7 * 1.9e-6 + 7 / 8 * 1e9 / 450e9 / ASSUMED_SHARE)
    assert H100.seconds(apart)[0] == pytest.approx(ports)
    assert H100.seconds(together)[0] == pytest.approx(links)


@pytest.mark.parametrize(
    ("key", "ranks"),
    [
        ("devices_per_node", 2),
        ("link_bytes_per_s", 2),
        ("link_latency_s", 2),
        ("network_bytes_per_s", 9),
        ("network_latency_s", 9),
    ],
)
def test_a_figure_that_several_devices_need_is_missed_by_file_and_key(
    tmp_path: Path, key: str, ranks: int
) -> None:
    values = yaml.safe_load((SHIPPED / "a100.yaml").read_text())
    del values[key]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    path = str(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError) as error:
        Links.of(load_hardware(path), ranks)
    assert str(error.value).startswith(f"{path}: {key} is missing, and {ranks} devices")
    if key.startswith("network"):
        Links.of(load_hardware(path), 8)
