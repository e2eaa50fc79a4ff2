"""What the tests of ingest share."""

from pathlib import Path

import pytest

from microtome_core.store.location import Store
from tests.conftest import empty_store


# What a bucket does differently is the store's own tests' to say; whole ingests take long there.
@pytest.fixture(params=["file", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty store of each kind in turn."""
    return empty_store(request, tmp_path)
