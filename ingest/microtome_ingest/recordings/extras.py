"""What a recording holds beside its arrays: neurons, files as they were, statistics."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.store.array import Codec, create_array
from microtome_core.store.layer import ensure_group
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.recording_document import Column, KeptFile, Statistic
from microtome_core.store.recordings import open_arrays
from microtome_ingest.recordings.ledger import Stored, put, shard_done
from microtome_ingest.recordings.pieces import Kept
from microtome_ingest.recordings.plan import DataArray, TimeArray
from microtome_ingest.recordings.statistics import (
    NAMES,
    TRAINING,
    Computed,
    Span,
    compare,
    compute,
    supplied_in,
    to_npy,
)
from microtome_ingest.recordings.survey import NEURONS, Survey
from microtome_ingest.sources.trials_tree import array_of

# Of statistics that nobody has supplied: the folder in which they would lie.
_USUAL = "all"
# What a service finds a column by, in an address.
_COLUMN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_UNITS = {"cell_motor_coordinates": ("micrometer", ["x", "y", "z"])}


@dataclass(frozen=True, slots=True)
class Extras:
    """What was written beside the arrays.

    Parameters
    ----------
    objects : tuple of Stored
    files, computed : tuple of KeptFile
    neurons : dict
    statistics : tuple of Statistic
    arrays : tuple of str
        Paths of the Zarr arrays.
    notes : tuple of str
    """

    objects: tuple[Stored, ...]
    files: tuple[KeptFile, ...] = ()
    computed: tuple[KeptFile, ...] = ()
    neurons: Mapping[str, Column] | None = None
    statistics: tuple[Statistic, ...] = ()
    arrays: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def keep_files(store: Store, folder: str, survey: Survey) -> Extras:
    """Write the files that are kept to the byte.

    Raises
    ------
    SourceError, StorageError
    """
    objects = []
    for name, size in survey.kept.items():
        content = bytes(survey.tree.content(name))
        if len(content) != size:
            raise SourceError(f"{survey.tree.path}/{name}", "changed since it was looked at")
        objects.append(put(store, folder, f"files/{name}", content))
    files = tuple(KeptFile(path=o.key, size=o.length, xxh3=o.xxh3) for o in objects)
    return Extras(tuple(objects), files)


def write_neurons(store: Store, folder: str, survey: Survey, codec: Codec) -> Extras:
    """Write a Zarr array for each column of the table of neurons."""
    objects, columns, notes = [], {}, []
    for name in survey.kept:
        column = name.removeprefix(NEURONS).removesuffix(".npy")
        if not name.startswith(NEURONS) or "/" in column or not name.endswith(".npy"):
            continue
        try:
            values = _column_values(survey, name, column)
        except _NoColumnError as error:
            notes.append(f"{name} is kept, but is no column{error}")
            continue
        path = f"neurons/{column}"
        objects.append(_write_column(store, folder, path, values, codec))
        columns[column] = _described(path, name, column, values)
    if columns:
        ensure_group(store, f"{folder}/neurons")
    arrays = tuple(column.path for column in columns.values())
    return Extras(tuple(objects), neurons=columns, arrays=arrays, notes=tuple(notes))


class _NoColumnError(Exception):
    """A file of the table of neurons that holds none of its columns; says why."""


def _column_values(survey: Survey, name: str, column: str) -> NDArray[Any]:
    if not _COLUMN.fullmatch(column):
        raise _NoColumnError(
            ": its name is more than letters, digits, dots, dashes and underscores"
        )
    try:
        values = array_of(survey.tree, name)
    except SourceError as error:
        raise _NoColumnError(f" of neurons: {error.reason}") from error
    if not values.ndim or values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise _NoColumnError(f" of numbers: {values.dtype}")
    if not values.size or survey.neurons not in (None, len(values)):
        rows = f"it has {len(values)} rows, the responses {survey.neurons}"
        raise _NoColumnError(f" of neurons: {rows}")
    return values


def _described(path: str, name: str, column: str, values: NDArray[Any]) -> Column:
    unit, parts = _UNITS.get(column, (None, None))
    return Column(
        path=path,
        source=f"files/{name}",
        dtype=values.dtype.newbyteorder("=").name,
        shape=list(values.shape),
        unit=unit,
        parts=parts if parts and values.shape[1:] == (len(parts),) else None,
    )


def _write_column(
    store: Store, folder: str, path: str, values: NDArray[Any], codec: Codec
) -> Stored:  # fmt: skip
    letters = "abcdefg"[: values.ndim]
    names = ("neuron", *(f"axis-{i}" for i in range(1, values.ndim)))
    dtype = values.dtype.newbyteorder("=").name
    spec = TimeArray(letters, values.shape, values.shape, values.shape, dtype, codec, names)
    array = create_array(store, f"{folder}/{path}", spec)
    with storage_errors(f"{store.url}/{folder}/{path}"):
        array.write(values.astype(dtype)).result()
    return shard_done(store, folder, path, spec, (0,) * values.ndim)


def write_statistics(
    store: Store,
    folder: str,
    survey: Survey,
    arrays: Mapping[str, Sequence[DataArray]],
    pieces: Mapping[str, Mapping[int, Kept]],
    files: Sequence[KeptFile],
) -> Extras:
    """Recompute the statistics of the training tier, and compare those that were supplied."""
    found: dict[str, Computed] = {}
    notes = []
    for group, several in arrays.items():
        spans = [(data, _spans(survey, data, pieces[group])) for data in several]
        trained = [each for each in spans if each[1]]
        if len(trained) == 1:
            found[group] = _compute(store, folder, *trained[0])
        elif trained:
            notes.append(f"{group} have arrays of several kinds: their statistics are not computed")
    objects: list[Stored] = []
    told: list[Statistic] = []
    supplied = list(supplied_in(files))
    for group, values in found.items():
        for name in NAMES:
            each = values.each.get(name)
            shown = each if each is not None else np.array(values.whole[name])
            objects.append(put(store, folder, f"computed/{group}/{name}.npy", to_npy(shown)))
            if not any((v, n) == (group, name) for v, _, n, _ in supplied):
                told.append(Statistic(variable=group, group=_USUAL, name=name,
                                      computed=f"computed/{group}/{name}.npy"))  # fmt: skip
    computed = tuple(KeptFile(path=o.key, size=o.length, xxh3=o.xxh3) for o in objects)
    for variable, kind, name, path in supplied:
        told.append(_told(survey, found, variable, kind, name, path))
    return Extras(tuple(objects), computed=computed, statistics=tuple(told), notes=(*notes,))


def _compute(store: Store, folder: str, data: DataArray, spans: Sequence[Span]) -> Computed:
    paths = [data.path, *([data.turned_path] if data.turned else [])]
    opened = open_arrays(store, folder, paths)
    with storage_errors(f"{store.url}/{folder}/{data.path}"):
        return compute(opened[paths[0]], opened[paths[-1]], spans)


def _spans(survey: Survey, data: DataArray, pieces: Mapping[int, Kept]) -> list[Span]:
    return [
        Span(data.offsets[index], data.offsets[index] + kept.valid)
        for index, kept in sorted(pieces.items())
        if index in data.offsets and survey.tiers[index] == TRAINING and kept.state == "stored"
    ]


def _told(
    survey: Survey, found: Mapping[str, Computed], variable: str, kind: str, name: str, path: str
) -> Statistic:
    """Return what is said of a supplied statistic."""
    told = Statistic(variable=variable, group=kind, name=name)
    if variable not in found:
        note = f"there are no {variable} of the training tier"
        return told.model_copy(update={"supplied": path, "note": note})
    try:
        values = array_of(survey.tree, path.removeprefix("files/"))
    except SourceError as error:
        return told.model_copy(update={"supplied": path, "note": error.reason})
    computed = f"computed/{variable}/{name}.npy"
    compared = compare(variable, kind, name, values, found[variable])
    return compared.model_copy(update={"supplied": path, "computed": computed})
