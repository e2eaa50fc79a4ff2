"""What an ingest makes of what: written before the first shard, so that it can be gone on with.

It lies in ``layer/0/ledger/job.json`` and holds all that is needed to finish a layer, to compare it
with its source and to mend it, but for the source itself.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

import xxhash
from pydantic import BaseModel

from microtome_core.errors import StorageError
from microtome_core.layout import Layout
from microtome_core.names import is_numbered_channel
from microtome_core.store.array import Codec
from microtome_core.store.binning import Method
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store
from microtome_ingest.files import Stamp
from microtome_ingest.options import Kind, VolumeSpec
from microtome_ingest.plan import Plan, Policy, make_plan
from microtome_ingest.source import SourceChannel

# Where it lies below a layer's version.
MANIFEST = f"{FOLDER}/job.json"
# So many differences are told.
_MOST = 4


class SourceFacts(BaseModel):
    """What was read, as it described itself."""

    format: str
    image: str
    scene: int | None
    axes: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    files: tuple[Stamp, ...]
    metadata: dict[str, Any]


class Manifest(BaseModel):
    """One ingest.

    Parameters
    ----------
    version : str
        Of microtome.
    started : str
        When, ISO 8601; the time in the layer's history.
    given : tuple of dict
        What is said of the layer over what its source says, in order.
    carried : tuple of str
        Names of the notes of an older version whose changes are part of `given`.
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
    given: tuple[dict[str, Any], ...] = ()
    carried: tuple[str, ...] = ()

    def plan(self, batch_bytes: int = 1) -> Plan:
        """Return the plan, with batches of so many bytes."""
        policy = Policy(self.method, Codec.parse(self.codec), self.levels, batch_bytes)
        return make_plan(self.spec, Layout(self.chunk, self.shard), policy)

    @property
    def told_channels(self) -> tuple[SourceChannel, ...]:
        """Channels that the record lists: labels have those alone that somebody named."""
        unnamed = all(is_numbered_channel(c.name or "") and not c.metadata for c in self.channels)
        return () if self.kind == "labels" and unnamed else self.channels

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
        odd = [name for name in ours if ours[name] != theirs[name]]
        # Most follow from the first.
        more = [f"and {len(odd) - _MOST} more"] if len(odd) > _MOST else []
        return [
            *(
                f"{name} is {_short(theirs[name])}, was {_short(ours[name])}"
                for name in odd[:_MOST]
            ),
            *more,
        ]


def read_manifest(store: Store, folder: str) -> Manifest | None:
    """Return the manifest of a layer's version, None if it has none.

    Raises
    ------
    StorageError
        It is damaged.
    """
    path = f"{folder}/{MANIFEST}"
    data = store.read(path)
    try:
        return None if data is None else parse_manifest(data)
    except ValueError as error:
        raise StorageError(f"{store.url}/{path}: {error}") from error


def parse_manifest(data: bytes) -> Manifest:
    """Read what `write_manifest` writes.

    Raises
    ------
    ValueError
        It is no manifest, or was damaged.
    """
    try:
        document = json.loads(data)
        told, manifest = document["xxh3"], document["manifest"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError("not the manifest of an ingest; --restart begins anew") from error
    if told != _digest(manifest):
        raise ValueError(
            "the ingest's manifest is damaged: its digest does not match; --restart begins anew"
        )
    return Manifest.model_validate(manifest)


def write_manifest(store: Store, folder: str, manifest: Manifest) -> bool:
    """Write the manifest of a version that has none; tell whether it is now this one."""
    told = manifest.model_dump(mode="json")
    data = json.dumps({"xxh3": _digest(told), "manifest": told}, indent=1)
    return store.create(f"{folder}/{MANIFEST}", data.encode())


def _digest(manifest: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode())


def _decisive(manifest: Manifest) -> Mapping[str, Any]:
    """Return all that decides which bytes are stored, by the words that messages use."""
    source, spec = manifest.source, manifest.spec
    return {
        "format": source.format,
        "image": source.image,
        "shape of the source": f"{source.axes} {'×'.join(map(str, source.shape))}",
        "order of its axes": source.order,
        "axes": spec.axes,
        "shape": "×".join(map(str, spec.shape)),
        "dtype": spec.dtype,
        "voxel size": [f"{size:.17g}" for size in spec.scale],
        "unit": [unit or "none" for unit in spec.units],
        "channels": [_channel(channel) for channel in manifest.channels],
        "labels of": manifest.labels_of,
        **manifest.settings(),
    }


def _channel(channel: SourceChannel) -> str:
    window = channel.window and f"{channel.window[0]:.17g} to {channel.window[1]:.17g}"
    return " ".join(str(part) for part in (channel.name, channel.color, window) if part)


def _short(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = "none" if value is None or not text else text
    return text if len(text) <= 80 else f"{text[:77]}…"
