"""What every room's tests share: sample files, an object store, the rule that CI skips nothing."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from microtome_core.store.location import StorageOptions, Store
from tests import s3_server

if TYPE_CHECKING:
    from tests.ceph import Endpoint
    from tests.oidc_issuer import OidcIssuer
    from tests.postgres import Cluster

SAMPLES_VARIABLE = "MICROTOME_SAMPLES"
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}

# No test is timed: a loaded machine is slow at any example.
settings.register_profile(
    "untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of real sample files, or skip."""
    folder = os.environ.get(SAMPLES_VARIABLE)
    if not folder:
        pytest.skip(f"{SAMPLES_VARIABLE} is not set: no sample files")
    return Path(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where everything that tests need must be there."""
    report = yield
    excused = item.get_closest_marker("samples") and not os.environ.get(SAMPLES_VARIABLE)
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail") and not excused:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def unused_port() -> Callable[[], int]:
    """Return a function that finds a port of the loopback interface that nobody listens on."""
    return s3_server.unused_port


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run an S3 server of its own process and return its address."""
    with s3_server.s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def ceph_endpoint(
    tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator["Endpoint"]:
    """Run an S3 server that verifies signatures, and return its address with a user's keys."""
    from tests import ceph

    if missing := ceph.missing():
        pytest.skip(f"{', '.join(missing)}: not installed, see .ci/packages")
    with ceph.running(tmp_path_factory.mktemp("ceph"), unused_port) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def postgres(unused_port: Callable[[], int]) -> Iterator["Cluster"]:
    """Run a PostgreSQL server."""
    from tests import postgres

    if missing := postgres.missing():
        pytest.skip(f"{', '.join(missing)}: not installed, see .ci/packages")
    with postgres.running(unused_port) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a database may be made, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/access.sqlite"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.create()


@pytest.fixture
def issuer() -> Iterator["OidcIssuer"]:
    """Run an issuer of sign-ins."""
    from tests import oidc_issuer

    with oidc_issuer.issuing() as made:
        yield made


@pytest.fixture
def s3_store(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return an empty bucket."""
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    bucket = f"bucket-{time.time_ns()}"
    s3_server.make_bucket(s3_endpoint, bucket)
    return Store(f"s3://{bucket}/root", StorageOptions.from_environment(os.environ))


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty store of each kind in turn."""
    return empty_store(request, tmp_path)


def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty store of the kind that a parameter says."""
    if request.param == "s3":
        bucket: Store = request.getfixturevalue("s3_store")
        return bucket
    return Store(str(tmp_path / "root") if request.param == "file" else "memory://root")
