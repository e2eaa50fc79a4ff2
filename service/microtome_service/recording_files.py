"""What a recording has in storage: its document, and its arrays as they lie there.

Keys are compared with what the document names, never joined to a path. Files that were kept as they
were are not part of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import tensorstore as ts

from microtome_core.errors import NotFound
from microtome_core.grid import Grid
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_service.stored import ArrayFiles, Document, load_array


@dataclass(frozen=True, slots=True)
class RecordingObject:
    """A stored chunk or shard of one of a recording's arrays.

    Parameters
    ----------
    recording : Recording
    key : str
        Below the recording's folder.
    """

    recording: Recording
    key: str

    def __str__(self) -> str:
        return f"recording {self.recording.id}, {self.key}"

    @property
    def path(self) -> str:
        """Where it lies below the root."""
        return f"{self.recording.path}/{self.key}"


@dataclass(frozen=True, slots=True)
class RecordingFiles:
    """A recording and its arrays, whose folders lie below the recording's."""

    recording: Recording
    arrays: tuple[ArrayFiles, ...]

    def find(self, rest: str) -> Document | RecordingObject:
        """Return what lies at a key below the recording's folder, but for groups.

        Raises
        ------
        NotFound
        """
        for array in self.arrays:
            key = rest.removeprefix(f"{array.folder}/")
            if key == rest:
                continue
            if key in array.documents:
                return Document(array.documents[key])
            if array.parse(key) is not None:
                return RecordingObject(self.recording, rest)
        raise NotFound(f"nothing lies at {f'{self.recording.path}/{rest}'[:200]!r}")

    def documents(self) -> dict[str, Any]:
        """Return the metadata of every group and array, by its whole path."""
        home = self.recording.path
        attributes = json.loads(self.recording.document).get("attributes", {})
        found: dict[str, Any] = {home: _group(attributes)}
        for array in self.arrays:
            words = array.folder.split("/")
            for depth in range(1, len(words)):
                found.setdefault(f"{home}/{'/'.join(words[:depth])}", _group({}))
            if array.metadata is not None:
                found[f"{home}/{array.folder}"] = array.metadata
        return found


def load_recording_files(store: Store, recording: Recording) -> RecordingFiles:
    """Read the metadata of a recording's arrays; raises as `load_array`. Blocks."""
    # A recording that replaced another lies in a folder of its version.
    version = recording.folder.removeprefix(recording.path).strip("/")
    arrays = [
        load_array(store, recording.path, f"{version}/{path}".strip("/"), _objects(array))
        for path, array in recording.arrays.items()
    ]
    return RecordingFiles(recording, tuple(arrays))


def _objects(array: ts.TensorStore) -> Grid:
    """Return the grid of stored objects."""
    given = array.chunk_layout.write_chunk.shape or array.shape
    cell = tuple(c or n for c, n in zip(given, array.shape, strict=True))
    return Grid(ascii_lowercase[: array.ndim], tuple(array.shape), cell)


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}
