"""What a recording is made of: written before its first shard, so that it can be gone on with."""

from datetime import UTC, datetime
from typing import Any, Literal

import xxhash
from pydantic import BaseModel, ValidationError

from microtome_core import __version__
from microtome_core.errors import StorageError
from microtome_core.store.location import Store
from microtome_ingest.files import Stamp, is_remote
from microtome_ingest.recordings.ledger import MANIFEST, sealed_json, unsealed_json
from microtome_ingest.recordings.survey import Survey


class Manifest(BaseModel):
    """One ingest of a recording.

    Parameters
    ----------
    version, started, layer : str
        Of microtome; when, ISO 8601; what.
    source : str
        The name of the folder or zip.
    files : dict
        Bytes of every file of the source.
    stamps : dict
        When each local file was written, or what the service calls it; of a zip its own.
    given : tuple of dict
        What is said of it over what its source says, in order; what is said of the dataset apart.
    carried : tuple of str
        Names of the notes of an older version whose changes are part of `given`.
    """

    schema_id: Literal["microtome-recording-ingest/1"] = "microtome-recording-ingest/1"
    version: str
    started: str
    layer: str
    source: str
    rate: float
    codec: str
    files: dict[str, int]
    stamps: dict[str, int | str | None]
    given: tuple[dict[str, Any], ...] = ()
    carried: tuple[str, ...] = ()

    def differences(self, other: "Manifest") -> list[str]:
        """Return in words what another ingest would do differently; times of files apart."""
        named = ("rate", "codec")
        faults = [
            f"{name} is {getattr(other, name)}, was {getattr(self, name)}"
            for name in named
            if getattr(self, name) != getattr(other, name)
        ]
        odd = [n for n in {**self.files, **other.files} if self.files.get(n) != other.files.get(n)]
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            faults.append(f"{odd[0]}{more} has another size, or is in one of them alone")
        return faults


def manifest_of(survey: Survey, layer: str, codec: str, started: str | None) -> Manifest:
    """Return the manifest of an ingest."""
    return Manifest(
        version=__version__,
        started=started or datetime.now(UTC).isoformat(timespec="seconds"),
        layer=layer,
        source=survey.name,
        rate=survey.rate,
        codec=codec,
        files=survey.tree.sizes(),
        stamps={path: _told(stamp) for path, stamp in survey.stamps.items()},
    )


def read_manifest(store: Store, folder: str) -> Manifest | None:
    """Return the manifest of a version, None if it has none.

    Raises
    ------
    StorageError
        It is damaged.
    """
    where = f"{store.url}/{folder}/{MANIFEST}"
    data = store.read(f"{folder}/{MANIFEST}")
    if data is None:
        return None
    try:
        return Manifest.model_validate(unsealed_json(data, where))
    except ValidationError as error:
        raise StorageError(f"{where}: not the manifest of a recording: {error}") from error


def write_manifest(store: Store, folder: str, manifest: Manifest) -> bool:
    """Write the manifest of a version that has none; tell whether it is now this one."""
    told: dict[str, Any] = manifest.model_dump(mode="json")
    return store.create(f"{folder}/{MANIFEST}", sealed_json(told))


def changed(survey: Survey, there: Manifest, known: dict[str, str | None]) -> str | None:
    """Return the first file that is not of the bytes that a recording was made of.

    Files that were written since are digested and compared.

    Parameters
    ----------
    known : dict
        XXH3 by path below the folder.
    """
    now = {path: _told(stamp) for path, stamp in survey.stamps.items()}
    if now == there.stamps:
        return None
    with survey.tree.held():
        for name, digest in known.items():
            (place,) = survey.tree.files(name)
            same = now.get(place) == there.stamps.get(place)
            if same and not (is_remote(place) and now.get(place) is None):
                continue
            if digest is None or xxhash.xxh3_128_hexdigest(survey.tree.content(name)) != digest:
                return name
    return None


def _told(stamp: Stamp) -> int | str | None:
    return stamp.etag or stamp.mtime_ns
