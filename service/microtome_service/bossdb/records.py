"""What is written down of resources beyond the layers themselves.

::

    ROOT/collection/zarr.json            attributes.bossdb: description, creator, metadata
    ROOT/collection/dataset/zarr.json    attributes.bossdb: the same, frame and times, channels
    ROOT/.bossdb/coord/NAME.json         a coordinate frame

Every change is one atomic write of one small object.
"""

import json
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from microtome_core.errors import InputError, StorageError
from microtome_core.names import DatasetId, check_name
from microtome_core.store.location import Store
from microtome_service.bossdb.frames import Frame
from microtome_service.bossdb.words import frame_name

FRAMES = ".bossdb/coord"
KEY = "bossdb"
_ENDING = ".json"
P = ParamSpec("P")
T = TypeVar("T")
_M = TypeVar("_M", bound="_Model")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ResourceRecord(_Model):
    """What every resource has."""

    description: str = ""
    creator: str = ""
    metadata: dict[str, str] = {}


class ChannelRecord(ResourceRecord):
    """A channel, by its name in the record of its dataset."""

    base_resolution: int = 0
    default_time_sample: int = 0
    sources: list[str] = []
    related: list[str] = []
    next_id: int = 0
    reserved_by: str = ""


class ExperimentRecord(ResourceRecord):
    """A dataset, as whoever created it described it; empty for one that was ingested."""

    coord_frame: str = ""
    num_hierarchy_levels: int = 0
    hierarchy_method: Literal["anisotropic", "isotropic"] = "anisotropic"
    num_time_samples: int = 0
    time_step: float = 0
    time_step_unit: str = ""
    channels: dict[str, ChannelRecord] = Field(default_factory=dict)


class FrameRecord(_Model):
    """A coordinate frame."""

    description: str = ""
    creator: str = ""
    used_by: list[str] = []
    extents: tuple[int, int, int]
    sizes: tuple[float, float, float]
    unit: str

    @property
    def frame(self) -> Frame:
        """The same, as layers have it."""
        return Frame(self.extents, self.sizes, self.unit)


class Run(Protocol):
    """Runs what waits for storage in a thread."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return its result; raises StorageError, too, if it takes too long."""


class Records:
    """The records of one store; reads block in threads of their own, not in the event loop.

    Parameters
    ----------
    store : Store
    run : Run
    """

    def __init__(self, store: Store, run: Run) -> None:
        self._store, self._run = store, run

    async def collections(self) -> list[str]:
        """Return the collections that somebody created, with datasets or without."""
        return await self._run(self._collections)

    async def has_collection(self, name: str) -> bool:
        """Tell whether somebody created a collection."""
        return await self._run(self._is_collection, name)

    async def collection(self, name: str) -> ResourceRecord:
        """Return what is written down of a collection, if anything."""
        return await self._run(self._read, check_name(name), ResourceRecord)

    async def experiment(self, dataset: DatasetId) -> ExperimentRecord:
        """Return what is written down of a dataset, if anything."""
        return await self._run(self._read, str(dataset), ExperimentRecord)

    async def frames(self) -> list[str]:
        """Return the names of the frames that somebody created."""
        return await self._run(self._frames)

    async def frame(self, name: str) -> FrameRecord | None:
        """Return a frame that somebody created, or None."""
        try:
            path = frame_path(name)
        except InputError:
            return None
        return await self._run(self._frame, path)

    def _collections(self) -> list[str]:
        return [name for name in self._store.children() if self._is_collection(name)]

    def _is_collection(self, name: str) -> bool:
        try:
            path = check_name(name)
        except InputError:
            return False
        return KEY in attributes(self._store.read(f"{path}/zarr.json"), path)

    def _read(self, path: str, model: type[_M]) -> _M:
        found = attributes(self._store.read(f"{path}/zarr.json"), path)
        return validated(model, found.get(KEY, {}), path)

    def _frames(self) -> list[str]:
        keys = (key.rpartition("/")[2] for key, _ in self._store.sizes(FRAMES))
        return [key.removesuffix(_ENDING) for key in keys if key.endswith(_ENDING)]

    def _frame(self, path: str) -> FrameRecord | None:
        document = self._store.read(path)
        return None if document is None else validated(FrameRecord, parsed(document, path), path)


def frame_path(name: str) -> str:
    """Return where a coordinate frame lies below the root."""
    return f"{FRAMES}/{frame_name(name)}{_ENDING}"


def attributes(document: bytes | None, path: str) -> dict[str, Any]:
    """Return the attributes of a group's ``zarr.json``; none where there is no group."""
    found = parsed(document, path).get("attributes", {}) if document else {}
    if not isinstance(found, dict):
        raise StorageError(f"{path}: its attributes are no JSON object")
    return found


def parsed(document: bytes, path: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    StorageError
        Something else.
    """
    try:
        found = json.loads(document)
    except ValueError as error:
        raise StorageError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise StorageError(f"{path}: no JSON object")
    return found


def validated(model: type[_M], value: object, path: str) -> _M:
    """Return a record, read; StorageError if it is none."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise StorageError(f"{path}: not what was written down: {error}") from error
