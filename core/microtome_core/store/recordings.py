"""A recording: per-trial arrays of unequal length, found by its address and read.

::

    ROOT/collection/dataset/layer/zarr.json             nwb, recording, microtome: written last
    ROOT/collection/dataset/layer/data/responses        Zarr array: neuron, time
    ROOT/collection/dataset/layer/rows/responses        the same, in chunks that follow time
    ROOT/collection/dataset/layer/neurons/unit_ids      Zarr array, one entry a neuron
    ROOT/collection/dataset/layer/files/config.json     what else the source held, to the byte
    ROOT/collection/dataset/layer/computed/…            statistics of the training tier, NPY
    ROOT/collection/dataset/layer/0/ledger/…            every object, its length and digest

A recording that replaces another lies in ``v2/…`` below the layer, as a volume does.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorstore as ts
from pydantic import ValidationError

from microtome_core.errors import NotFound, StorageError
from microtome_core.names import LayerId
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import RecordingFacts
from microtome_core.store.shard_files import ShardFiles, shard_files
from microtome_core.store.versions import record_version, value_version

RECORDING = "recording"


def is_recording(store: Store, layer_id: LayerId) -> bool:
    """Tell whether a visible recording has this address; a damaged document is none."""
    document = store.read(f"{layer_id}/zarr.json")
    try:
        return document is not None and RECORDING in _attributes(str(layer_id), document)
    except StorageError:
        return False  # whoever opens what lies there says what is wrong with it


@dataclass(frozen=True, slots=True)
class Document:
    """What the ``zarr.json`` of a visible recording says.

    Parameters
    ----------
    facts : RecordingFacts
    record : dict
        NWB-style.
    folder : str
        Of the version that is visible, below the root.
    content : bytes
    attributes : dict
    """

    facts: RecordingFacts
    record: Mapping[str, Any]
    folder: str
    content: bytes
    attributes: Mapping[str, Any]


def read_document(store: Store, layer_id: LayerId) -> Document:
    """Return what a recording says of itself; none of its arrays is opened.

    Raises
    ------
    NotFound, StorageError
        As `read_recording`.
    """
    path = str(layer_id)
    content = store.read(f"{path}/zarr.json")
    attributes = {} if content is None else _attributes(f"{store.url}/{path}", content)
    if content is None or RECORDING not in attributes:
        raise NotFound(f"no recording {layer_id}")
    try:
        facts = RecordingFacts.model_validate(attributes[RECORDING])
    except ValidationError as error:
        raise StorageError(f"{store.url}/{path}: no recording: {error}") from error
    prefix = attributes.get("microtome", {}).get("version", "")
    folder = f"{path}/{prefix}".rstrip("/")
    return Document(facts, attributes.get("nwb", {}), folder, content, attributes)


def read_recording(store: Store, layer_id: LayerId) -> Recording:
    """Open a recording and its arrays. Blocks; reads may then be awaited.

    Raises
    ------
    NotFound
        No such recording, or one that is not whole.
    StorageError
        Storage failed, or holds something else.
    """
    found = read_document(store, layer_id)
    arrays = open_arrays(store, found.folder, _paths(found.facts))
    return Recording(
        id=layer_id,
        store=store,
        path=str(layer_id),
        folder=found.folder,
        version=value_version(found.content, found.attributes),
        facts=found.facts,
        record=found.record,
        arrays=arrays,
        files=_files(store, found, arrays),
        document=found.content,
        record_version=record_version(found.content),
    )


def open_arrays(store: Store, folder: str, paths: Sequence[str]) -> dict[str, ts.TensorStore]:
    """Open Zarr arrays below a folder, all at once; a chunk that is missing is an error to read.

    Raises
    ------
    StorageError
        One is not there, or storage failed.
    """
    futures = {}
    with storage_errors(f"{store.url}/{folder}"):
        for path in paths:
            spec = {
                "driver": "zarr3",
                "kvstore": store.kvstore(f"{folder}/{path}"),
                "recheck_cached_data": "open",
                "fill_missing_data_reads": False,
            }
            futures[path] = ts.open(spec, context=store.context, open=True)
        return {path: future.result() for path, future in futures.items()}


def _files(
    store: Store, found: Document, arrays: Mapping[str, ts.TensorStore]
) -> dict[str, ShardFiles]:
    """Return the arrays of trials whose shards can be read as files."""
    several = [array.path for v in found.facts.variables.values() for array in v.arrays]
    tried = {p: shard_files(store, f"{found.folder}/{p}", arrays[p]) for p in several}
    return {path: files for path, files in tried.items() if files is not None}


def _paths(facts: RecordingFacts) -> list[str]:
    found = [column.path for column in facts.neurons.values()]
    for variable in facts.variables.values():
        for array in variable.arrays:
            found += [array.path, *([array.by_row] if array.by_row else [])]
    return found


def _attributes(where: str, document: bytes) -> dict[str, Any]:
    try:
        attributes = json.loads(document).get("attributes", {})
    except (ValueError, AttributeError) as error:
        raise StorageError(f"{where}/zarr.json: not Zarr metadata: {error}") from error
    if not isinstance(attributes, dict):
        raise StorageError(f"{where}/zarr.json: its attributes are no JSON object")
    return attributes
