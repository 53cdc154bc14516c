"""Two pairs of real servers, and a small trained model, for all tests of this folder."""

from __future__ import annotations

import os
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.room import make_model
from tests.engines.servers import describe_stack, list_missing, start_postgres_and_ceph


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A split of 20,000 rows, and a model trained on it."""
    return make_model(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def cluster_pair():
    """MLflow on PostgreSQL and the Ceph RADOS Gateway, as on the cluster."""
    if missing := list_missing():
        reason = f"{', '.join(missing)} not found: .ci/packages installs the Debian packages"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    # not in pytest's folder: PostgreSQL runs as a user of its own, and the next pytest closes that folder to others
    with tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        pair, stop = start_postgres_and_ceph(folder)
        yield pair
        stop()


@pytest.fixture(scope="session", params=["SQLite and SeaweedFS", "PostgreSQL and Ceph"])
def pair(request):
    """Each pair in turn."""
    if request.param == "PostgreSQL and Ceph":
        return request.getfixturevalue("cluster_pair")
    return describe_stack(request.getfixturevalue("stack").home)


@pytest.fixture
def seat(pair):
    """Settings of a seat of its own, so that no test meets what another one left."""
    return replace(pair.settings, seat=uuid.uuid4().hex[:10])
