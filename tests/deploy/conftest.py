"""Programs that render manifests or build images are there, or tests are skipped by name."""

from collections.abc import Iterator

import pytest

from tests.deploy import containers
from tests.deploy.containers import Engine
from tests.deploy.manifests import kustomize


@pytest.fixture(scope="session", autouse=True)
def renderer() -> None:
    """Skip where nothing renders kustomizations."""
    if not kustomize():
        pytest.skip("kubectl or kustomize: not installed")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Build both images."""
    if absent := containers.missing():
        pytest.skip(f"{', '.join(absent)}: not here, see .ci/packages-deploy")
    with containers.engine() as made:
        for target in ("service", "ingest"):
            made.build(target)
        yield made
