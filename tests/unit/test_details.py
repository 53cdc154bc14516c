"""The notebooks that a first reading skips run to their end, without any server."""

import os

import nbformat
import pytest

from tests.lessons.proof import SharedKernel
from tests.test_hygiene import DETAILS, name_of


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    kernel = SharedKernel({**os.environ, "FRAUD_DEMO_HOME": str(home)}, home)
    yield kernel
    kernel.close()


@pytest.mark.parametrize("path", DETAILS, ids=name_of)
def test_details_run(kernel, path):
    kernel.run(nbformat.read(path, as_version=4))
