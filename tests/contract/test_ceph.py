"""A bucket of Ceph, which verifies signatures and digests: what is ingested, others read there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import s3fs
import tensorstore as ts
import zarr
from numpy.typing import NDArray

from microtome_core.errors import AccessDenied
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.formats import open_source
from tests.ceph import REGION, Endpoint
from tests.faults import FaultProxy

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # botocore's deprecations

SOURCE = "synthetic://neurons?shape=64,256,256&seed=3"
LEVEL = "microtome/root/some/brain/neurons/0"


@pytest.fixture(scope="module")
def ceph(ceph_endpoint: Endpoint) -> Endpoint:
    """Ingest the source into a bucket by the real command."""
    ceph_endpoint.create_bucket("microtome")
    words = [sys.executable, "-m", "microtome_cli", "ingest", SOURCE, "s3://microtome/root"]
    words += ["--as", "some/brain/neurons", "--chunk", "32,64,64", "--shard", "32,128,128"]
    environment = {**os.environ, **ceph_endpoint.environment}
    subprocess.run(words, env=environment, timeout=200, check=True)
    return ceph_endpoint


@pytest.fixture(autouse=True)
def _environment(ceph: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ceph.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def voxels() -> NDArray[Any]:
    """Return what the source holds."""
    with closing(open_source(SOURCE)) as source:
        made = source.description
        return source.read(Region.whole(made.axes, made.shape))


def kvstore(url: str, path: str) -> dict[str, Any]:
    """Describe a folder of the bucket to TensorStore."""
    return {
        "driver": "s3",
        "bucket": "microtome",
        "path": path.removeprefix("microtome/") + "/",
        "endpoint": url,
        "aws_region": REGION,
        "aws_credentials": {"type": "environment"},
    }


@pytest.fixture(params=["straight", "through a proxy"])
def url(request: pytest.FixtureRequest, ceph: Endpoint) -> Iterator[str]:
    """Return the gateway's address, and that of a proxy before it that breaks nothing."""
    if request.param == "straight":
        yield ceph.url
        return
    with FaultProxy(ceph.url) as proxy:
        yield proxy.url
        assert proxy.requests["GET"] > 0


def test_other_readers_see_the_voxels(url: str, voxels: NDArray[Any]) -> None:
    """zarr-python over s3fs and TensorStore read level 0 voxel by voxel, and both the same shards;
    signatures stay good through a proxy.
    """
    storage = {"endpoint_url": url}
    array = zarr.open_array(f"s3://{LEVEL}", mode="r", storage_options=storage)
    assert np.array_equal(array[...], voxels)
    read = ts.open({"driver": "zarr3", "kvstore": kvstore(url, LEVEL)}, open=True).result()
    assert np.array_equal(read.read().result(), voxels)
    filesystem = s3fs.S3FileSystem(**storage)
    shards = [path.removeprefix(f"{LEVEL}/") for path in filesystem.find(f"{LEVEL}/c")]
    assert shards == [f"c/{z}/{y}/{x}" for z in range(2) for y in range(2) for x in range(2)]
    folder = ts.KvStore.open(kvstore(url, LEVEL)).result()
    for shard in shards:
        assert filesystem.cat_file(f"{LEVEL}/{shard}") == folder[shard]


def test_of_many_that_create_one_succeeds(ceph: Endpoint) -> None:
    """Creation is atomic: of eight at the same time one is told that it made the object."""
    with FaultProxy(ceph.url, latency=0.1) as proxy, ThreadPoolExecutor(8) as threads:
        spec = kvstore(proxy.url, "microtome/made")
        stores = [ts.KvStore.open(spec, context=ts.Context()).result() for _ in range(8)]
        absent = stores[0].read("key").result().stamp.generation

        def create(number: int) -> bool:
            stamp = stores[number].write("key", b"%d" % number, if_equal=absent).result()
            return bool(stamp.generation)

        made = list(threads.map(create, range(8)))
        assert made.count(True) == 1
        assert stores[0].read("key").result().value == b"%d" % made.index(True)


def test_an_object_is_replaced_though_conditions_are_refused(ceph: Endpoint) -> None:
    """TensorStore's right conditions are refused here too; an update comes through all the same,
    as a second label layer of an image needs it.
    """
    store = Store("s3://microtome/root", StorageOptions.from_environment(os.environ))
    for word in (b"one", b"two"):
        store.update("words", lambda old, word=word: (old or b"") + word)
    assert store.read("words") == b"onetwo"


def test_an_interrupted_ingest_goes_on_there(ceph: Endpoint) -> None:
    """Claims, journal, resuming and verify do with what this gateway can."""
    words = [sys.executable, "-m", "microtome_cli"]
    ingest = [*words, "ingest", SOURCE.replace("64,256,256", "64,256,512"), "s3://microtome/again"]
    ingest += ["--as", "some/brain/neurons", "--chunk", "8,32,32", "--shard", "8,32,32"]
    environment = {**os.environ, **ceph.environment}
    store = Store("s3://microtome/again", StorageOptions.from_environment(os.environ))
    with subprocess.Popen(ingest, env=environment) as process:
        while sum(1 for _ in store.sizes("some/brain/neurons/0/c")) < 20:
            assert process.poll() is None
        process.kill()
    subprocess.run(ingest, env=environment, timeout=200, check=True)
    verify = [*words, "verify", "s3://microtome/again", "some/brain/neurons"]
    subprocess.run(verify, env=environment, timeout=200, check=True)
    assert not store.children("some/brain/neurons/0/ledger")


def test_a_wrong_password_is_a_failure_of_storage(
    ceph: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that do not verify are told from an absent object."""
    wrong = replace(ceph, secret_key="wrong")
    for name, value in wrong.environment.items():
        monkeypatch.setenv(name, value)
    store = Store("s3://microtome/root", StorageOptions.from_environment(os.environ))
    with pytest.raises(AccessDenied, match="SignatureDoesNotMatch"):
        store.read("some/brain/neurons/zarr.json")
