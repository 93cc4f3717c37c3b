"""Clusters that all tests of this folder share; where SLURM is missing they are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, cluster, missing


def _running(*, accounting: bool, min_job_age_s: int) -> Iterator[Cluster]:
    lacking = missing(accounting=accounting)
    if lacking:
        pytest.skip(f"this machine lacks {', '.join(lacking)}; see tests/slurm/cluster.py")
    with cluster(accounting=accounting, min_job_age_s=min_job_age_s) as running:
        yield running


@pytest.fixture(scope="session")
def accounted() -> Iterator[Cluster]:
    """A cluster whose database knows every job that ever ran."""
    yield from _running(accounting=True, min_job_age_s=3600)


@pytest.fixture(scope="session")
def forgetful() -> Iterator[Cluster]:
    """A cluster without accounting that forgets jobs five minutes after their end."""
    yield from _running(accounting=False, min_job_age_s=300)


@pytest.fixture
def idle(accounted: Cluster) -> Iterator[Cluster]:
    """The cluster with accounting, without any job before and after."""
    accounted.clear()
    yield accounted
    accounted.clear()
