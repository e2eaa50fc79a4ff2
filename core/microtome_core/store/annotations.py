"""Files that annotate a dataset, kept as they are: skeletons of neurons and the like.

::

    ROOT/collection/dataset/annotations/name.swc        the file, to the byte
    ROOT/collection/dataset/annotations/name.swc.json   what it is; written last, gone first

An annotation without its JSON is not visible.
"""

import json
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from microtome_core.errors import Conflict, InputError, NotFound, StorageError
from microtome_core.names import DatasetId, LayerId, check_name
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from microtome_core.store.record import SourceFile

SCHEMA = "microtome-annotation/1"
FOLDER = "annotations"
_INFO = ".json"


class Box(BaseModel):
    """The smallest box around all points, x, y, z."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


class Annotation(BaseModel):
    """What is known of an annotation."""

    model_config = ConfigDict(extra="allow")

    schema_id: Literal["microtome-annotation/1"] = "microtome-annotation/1"
    kind: Literal["swc"] = "swc"
    size: int
    sha256: str
    source: SourceFile
    created: str
    unit: Annotated[str | None, Field(description="absent where nobody knows it")] = None
    unit_factor: Annotated[float, Field(description="units that a coordinate of 1 stands for")] = 1
    nodes: int
    roots: int
    types: dict[str, int]
    bounding_box: Box
    notes: list[str] = []


def annotation_path(annotation: LayerId, kind: str = "swc") -> str:
    """Return where an annotation lies below the root.

    >>> annotation_path(LayerId("demo", "brain", "cell-7"))
    'demo/brain/annotations/cell-7.swc'
    """
    return f"{annotation.parent}/{FOLDER}/{annotation.layer}.{kind}"


def list_annotations(store: Store, dataset: DatasetId) -> tuple[LayerId, ...]:
    """Return the visible annotations of a dataset, sorted."""
    ending = f".swc{_INFO}"
    folder = f"{dataset}/{FOLDER}"
    keys = (key.removeprefix(f"{folder}/") for key, _ in store.sizes(folder))
    names = [key.removesuffix(ending) for key in keys if key.endswith(ending) and "/" not in key]
    return tuple(
        sorted(LayerId(dataset.collection, dataset.dataset, n) for n in names if _is_name(n))
    )


def find_annotation(store: Store, annotation: LayerId) -> Annotation:
    """Return what is known of an annotation, without its file.

    Raises
    ------
    NotFound
        No such annotation, or one that is not whole.
    StorageError
        Storage failed, or holds something else.
    """
    info = _info(store, annotation_path(annotation))
    if info is None:
        raise NotFound(f"no annotation {annotation}")
    return info


def read_annotation(store: Store, annotation: LayerId) -> tuple[bytes, Annotation]:
    """Return the file and what is known of it.

    Raises
    ------
    NotFound
        No such annotation, or one that is not whole.
    StorageError
        Storage failed, or the file is not what was written.
    """
    path = annotation_path(annotation)
    info = find_annotation(store, annotation)
    content = store.read(path)
    if content is None or sha256(content).hexdigest() != info.sha256:
        raise StorageError(f"{store.url}/{path}: is not what was written")
    return content, info


def write_annotation(
    store: Store, annotation: LayerId, content: bytes, info: Annotation, *, replace: bool = False
) -> bool:
    """Store a file and make it visible.

    Parameters
    ----------
    replace : bool
        Also where another one lies there; until the new one is whole, none is visible.

    Returns
    -------
    bool
        False where the same is there already.

    Raises
    ------
    Conflict
        Another one is there, or a layer of the name ``annotations``.
    StorageError
        Storage failed.
    """
    path = annotation_path(annotation)
    known = _info(store, path)
    if known is not None and _same(known, info) and store.read(path) == content:
        return False
    _check_free(store, annotation)
    ensure_groups(store, annotation.parent)
    if replace:
        store.remove(f"{path}{_INFO}")
        store.write(path, content)
        store.write(f"{path}{_INFO}", _document(info))
        return True
    # A writer that died may have left the file without its JSON: the same goes on from there.
    if known is not None or not store.create(path, content):
        raise _conflict(annotation)
    if not store.create(f"{path}{_INFO}", _document(info)):
        raise _conflict(annotation)
    return True


def _same(known: Annotation, info: Annotation) -> bool:
    """Tell whether two say the same of the same file, at whatever time."""
    return known.model_copy(update={"created": info.created}) == info


def _check_free(store: Store, annotation: LayerId) -> None:
    if store.read(f"{annotation.parent}/{FOLDER}/zarr.json") is not None:
        raise Conflict(
            f"{annotation.parent}/{FOLDER}: a layer has the name under which annotations lie"
        )


def _conflict(annotation: LayerId) -> Conflict:
    return Conflict(f"{annotation}: another annotation is there; --restart replaces it")


def _info(store: Store, path: str) -> Annotation | None:
    document = store.read(f"{path}{_INFO}")
    if document is None:
        return None
    try:
        return Annotation.model_validate_json(document)
    except ValidationError as error:
        raise StorageError(f"{store.url}/{path}{_INFO}: no annotation: {error}") from error


def _document(info: Annotation) -> bytes:
    told: dict[str, Any] = info.model_dump(mode="json", exclude_none=True)
    return json.dumps(told, indent=1, allow_nan=False).encode()


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InputError:
        return False
    return True
