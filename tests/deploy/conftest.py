"""Programs that render manifests are there, or the tests that need them are skipped by name."""

import pytest

from tests.deploy.manifests import kustomize


@pytest.fixture(scope="session", autouse=True)
def renderer() -> None:
    """Skip where nothing renders kustomizations."""
    if not kustomize():
        pytest.skip("kubectl or kustomize: not installed")
