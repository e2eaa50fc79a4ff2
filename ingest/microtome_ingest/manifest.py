"""What an ingest makes of what: written before the first shard, so that it can be gone on with.

It lies in ``layer/0/ledger/job.json`` and holds all that is needed to finish a layer, to compare it
with its source and to mend it, but for the source itself.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from microtome_core.errors import StorageError
from microtome_core.store.array import Codec
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store
from microtome_ingest.layout import Layout
from microtome_ingest.options import Kind, VolumeSpec
from microtome_ingest.plan import Method, Plan, Policy, make_plan
from microtome_ingest.source import SourceChannel


class File(BaseModel):
    """A file of the source as it was: size, and when it was changed or its store's tag."""

    model_config = ConfigDict(frozen=True)
    name: str
    size: int
    modified: int | None = None
    etag: str | None = None


class SourceFacts(BaseModel):
    """What was read, as it described itself."""

    format: str
    image: str
    scene: int | None
    axes: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    files: tuple[File, ...]
    metadata: dict[str, Any]


class Manifest(BaseModel):
    """One ingest.

    Parameters
    ----------
    version : str
        Of microtome.
    started : str
        When, ISO 8601; the time in the layer's history.
    """

    schema_id: Literal["microtome-ingest/1"] = "microtome-ingest/1"
    version: str
    started: str
    layer: str
    kind: Kind
    labels_of: str | None
    source: SourceFacts
    spec: VolumeSpec
    channels: tuple[SourceChannel, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    codec: str
    levels: int
    method: Method

    def plan(self, batch_bytes: int = 1) -> Plan:
        """Return the plan, with batches of so many bytes."""
        policy = Policy(self.method, Codec.parse(self.codec), self.levels, batch_bytes)
        return make_plan(self.spec, Layout(self.chunk, self.shard), policy)

    def settings(self) -> dict[str, Any]:
        """Return how the layer is stored, as its history tells it."""
        return {
            "kind": self.kind,
            "axes": self.spec.axes,
            "chunk": list(self.chunk),
            "shard": list(self.shard),
            "codec": self.codec,
            "levels": self.levels,
            "method": self.method,
        }

    def differences(self, other: "Manifest") -> list[str]:
        """Return in words what another ingest would do differently; its files apart."""
        ours, theirs = _decisive(self), _decisive(other)
        return [
            f"{name} is {_short(theirs[name])}, was {_short(ours[name])}"
            for name in ours
            if ours[name] != theirs[name]
        ]


def read_manifest(store: Store, folder: str) -> Manifest | None:
    """Return the manifest of a layer's version, None if it has none.

    Raises
    ------
    StorageError
        It is damaged.
    """
    path = f"{folder}/{FOLDER}/job.json"
    data = store.read(path)
    try:
        return None if data is None else Manifest.model_validate_json(data)
    except ValidationError as error:
        raise StorageError(f"{store.url}/{path}: not the manifest of an ingest: {error}") from error


def write_manifest(store: Store, folder: str, manifest: Manifest) -> bool:
    """Write the manifest of a version that has none; tell whether it is now this one."""
    data = manifest.model_dump_json(indent=1).encode()
    return store.create(f"{folder}/{FOLDER}/job.json", data)


def _decisive(manifest: Manifest) -> Mapping[str, Any]:
    """Return all that decides which bytes are stored, by the words that messages use."""
    source, spec = manifest.source, manifest.spec
    return {
        "format": source.format,
        "image": source.image,
        "shape of the source": (source.axes, source.shape),
        "order of its axes": source.order,
        "axes": spec.axes,
        "shape": spec.shape,
        "dtype": spec.dtype,
        "voxel size": spec.scale,
        "unit": spec.units,
        "channels": [(c.name, c.color, c.window) for c in manifest.channels],
        "labels of": manifest.labels_of,
        **manifest.settings(),
    }


def _short(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
