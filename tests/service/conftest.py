"""Small layers in real stores, the app over them, and a real server on a real socket."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numcodecs
import numpy as np
import pytest
import tifffile
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from microtome_core.levels import Level
from microtome_core.names import LayerId
from microtome_core.store.array import ArraySpec, Codec, create_array
from microtome_core.store.layer import ensure_groups, labels_path, publish_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.ome import ImageLabel, Ome, multiscale, omero
from microtome_core.wire import Channel
from microtome_service.app import create_app
from microtome_service.settings import Settings
from tests.asgi import ask

UNITS = {"t": "second", "c": None, "z": "micrometer", "y": "micrometer", "x": "micrometer"}
SCALES = {"t": 0.5, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
COLORS = ("00FF00", "FF00FF", "FFFFFF", "FF8000")


class StoreBuilder:
    """Writes small layers with microtome_core, as an ingest would."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def layer(
        self,
        address: str,
        axes: str,
        voxels: NDArray[Any],
        *,
        levels: int = 1,
        labels_of: str | None = None,
        window: tuple[float, float] = (0, 200),
        chunk: int = 8,
        record: dict[str, Any] | None = None,
    ) -> list[NDArray[Any]]:
        """Write and publish a layer whose level n holds every 2**n-th voxel in space."""
        layer_id = LayerId.parse(address)
        path = address
        if labels_of:
            path = labels_path(LayerId(layer_id.collection, layer_id.dataset, labels_of),
                               layer_id.layer)  # fmt: skip
        ensure_groups(self.store, layer_id.parent)
        arrays, described = self._levels(path, axes, voxels, levels, chunk)
        self.publish(path, axes, described, voxels, labels=labels_of is not None, window=window,
                     record=record)  # fmt: skip
        return arrays

    def _levels(
        self, path: str, axes: str, voxels: NDArray[Any], count: int, chunk: int
    ) -> tuple[list[NDArray[Any]], list[Level]]:
        arrays, described = [], []
        for number in range(count):
            steps = [2**number if a in "zyx" else 1 for a in axes]
            data = voxels[tuple(slice(None, None, s) for s in steps)]
            arrays.append(data)
            described.append(
                Level(
                    tuple(steps),
                    data.shape,
                    tuple(SCALES[a] * s for a, s in zip(axes, steps, strict=True)),
                )
            )
            chunks = tuple(chunk if a in "zyx" else 1 for a in axes)
            shards = tuple(2 * chunk if a in "zyx" else 1 for a in axes)
            spec = ArraySpec(axes, data.shape, chunks, shards, data.dtype.name, Codec("zstd", 1))
            create_array(self.store, f"{path}/{number}", spec)[...] = data
        return arrays, described

    def publish(
        self,
        path: str,
        axes: str,
        levels: list[Level],
        voxels: NDArray[Any],
        *,
        labels: bool = False,
        window: tuple[float, float] = (0, 200),
        record: dict[str, Any] | None = None,
    ) -> None:
        """Write the metadata that makes a layer visible."""
        scales = multiscale(path.rpartition("/")[2], axes, [UNITS[a] for a in axes], levels, "mean")
        count = voxels.shape[axes.index("c")] if "c" in axes else 1
        channels = [Channel(f"channel {i}", COLORS[i % 4], window) for i in range(count)]
        ome = Ome(
            multiscales=[scales],
            omero=None if labels else omero(channels, 0, 65535),
            image_label=ImageLabel() if labels else None,
        )
        publish_layer(self.store, path, {"ome": ome.to_json(), "nwb": record or {}})


def ramp(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return voxels that all differ from their neighbours and reach the ends of the type."""
    rng = np.random.default_rng(7)
    if dtype.startswith("float"):
        return rng.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    voxels = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    voxels.flat[0], voxels.flat[-1] = limits.min, limits.max
    return voxels


@pytest.fixture(params=["file", "memory"])
def service_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store on disk, then one in memory."""
    url = f"file://{tmp_path}/root" if request.param == "file" else "memory://root"
    (tmp_path / "root").mkdir()
    return Store(url, StorageOptions(cache_bytes=1 << 24))


@pytest.fixture
def disk_store(tmp_path: Path) -> Store:
    """An empty store on disk, without a cache: every read reads."""
    (tmp_path / "root").mkdir()
    return Store(f"file://{tmp_path}/root")


def decode_answer(answer: httpx.Response) -> NDArray[Any]:
    """Read a body with the libraries that users have, by its content type and headers."""
    body, kind = answer.content, answer.headers["content-type"]
    if kind == "application/x-npy":
        return np.asarray(np.load(BytesIO(body), allow_pickle=False))
    if kind == "image/tiff":
        return np.asarray(tifffile.imread(BytesIO(body)))
    if kind.startswith("image/"):
        return np.asarray(Image.open(BytesIO(body)))
    if kind == "application/blosc":
        body = numcodecs.Blosc().decode(body)
    if kind == "application/zstd":
        body = numcodecs.Zstd().decode(body)
    shape = [int(n) for n in answer.headers["x-microtome-shape"].split(",") if n]
    dtype = np.dtype(answer.headers["x-microtome-dtype"]).newbyteorder("<")
    return np.frombuffer(body, dtype).reshape(shape)


def list_shards(store: Store) -> list[Path]:
    """Return the files that hold voxels of the layer's level 0."""
    folder = Path(store.url.removeprefix("file://")) / "demo/brain/neurons/0/c"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage_shards(store: Store) -> None:
    """Flip one bit in every fiftieth byte of every shard."""
    for path in list_shards(store):
        data = bytearray(path.read_bytes())
        for place in range(0, len(data), 50):
            data[place] ^= 1
        path.write_bytes(data)


@pytest.fixture(scope="session")
def decode() -> Callable[[httpx.Response], NDArray[Any]]:
    """What reads the body of a cutout back."""
    return decode_answer


@pytest.fixture(scope="session")
def shards() -> Callable[[Store], list[Path]]:
    """What lists the files of a layer's voxels."""
    return list_shards


@pytest.fixture(scope="session")
def damage() -> Callable[[Store], None]:
    """What flips bits in every shard."""
    return damage_shards


@pytest.fixture(scope="session")
def make_builder() -> type[StoreBuilder]:
    """What writes layers into a store."""
    return StoreBuilder


@pytest.fixture
def make_ramp() -> Callable[[tuple[int, ...], str], NDArray[Any]]:
    """What makes voxels of any type."""
    return ramp


def settings_for(store: Store, **changes: Any) -> Settings:  # noqa: ANN401 - any field's type
    """Return settings that look at the store anew for every request."""
    return Settings(root=store.url, **{"recheck_seconds": 0.0, **changes})


class AppCaller:
    """Calls an app without a socket; each call has an event loop of its own.

    In a loop that stood still between the calls, what one had begun would fail another.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def __call__(self, method: str, url: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Return the answer to one request.

        `quiet` gives the 500 that a caller would get for an unexpected error, which else is raised.
        """
        return asyncio.run(self._call(method, url, options))

    def get(self, url: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Return the answer to a GET."""
        return self("GET", url, **options)

    async def _call(self, method: str, url: str, options: dict[str, Any]) -> httpx.Response:
        answer = await ask(self.app, method, url, **options)
        if answer.status_code >= 500:
            # Reads that were given up call back a moment later, into this loop.
            await asyncio.sleep(0.05)
        return answer


@pytest.fixture
def connect() -> Iterator[Callable[..., AppCaller]]:
    """Make the app of a store and a caller of it: `connect(store, max_chunks=2)`."""
    made: list[FastAPI] = []

    def make(store: Store, **changes: Any) -> AppCaller:  # noqa: ANN401 - any field's type
        made.append(create_app(settings_for(store, **changes), store))
        return AppCaller(made[-1])

    yield make
    for app in made:
        app.state.service.close()


@pytest.fixture(scope="module")
def make_caller() -> Iterator[Callable[[Store], AppCaller]]:
    """What makes the app of a store that a whole module calls."""
    made: list[FastAPI] = []

    def make(store: Store) -> AppCaller:
        made.append(create_app(settings_for(store), store))
        return AppCaller(made[-1])

    yield make
    for app in made:
        app.state.service.close()


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve `app` by uvicorn on a free port, in a thread; yield its address."""
    config = uvicorn.Config(
        app, port=0, http="httptools", loop="uvloop", ws="none", log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def running_app() -> Callable[[FastAPI], AbstractContextManager[str]]:
    """Serve an app on a real socket: `with running_app(app) as address`."""
    return running


@pytest.fixture(scope="session")
def run_server() -> Callable[..., AbstractContextManager[str]]:
    """Serve a store on a real socket: `with run_server(store) as address`."""

    def run(store: Store, **changes: Any) -> AbstractContextManager[str]:  # noqa: ANN401 - any field's type
        return running(create_app(settings_for(store, **changes), store))

    return run


@pytest.fixture
def volume(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> tuple[Any, NDArray[Any]]:
    """A caller of a store with one uint16 volume of two levels, and its voxels."""
    voxels = make_ramp((10, 20, 30), "uint16")
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels, levels=2)
    return connect(service_store), voxels
