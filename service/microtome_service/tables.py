"""Tables as JSON or as Arrow's streaming format, and arrays over time as either.

=========  ========================================  ==============================================
format     media type                                body
=========  ========================================  ==============================================
``json``   ``application/json``                      rows as objects; what is no number is null
``arrow``  ``application/vnd.apache.arrow.stream``   Arrow IPC, streaming format
=========  ========================================  ==============================================

Columns of more than one number a row are lists in JSON and `arrow.fixed_shape_tensor` in Arrow,
which readers that do not know it take for a list of fixed size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from microtome_core.errors import InputError
from microtome_service.errors import NotAcceptable
from microtome_service.negotiate import choose

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
TABLES: Mapping[str, str] = {"json": JSON, "arrow": ARROW}
# Of a value in JSON, about: as a number of Python, in two lists, and as text that grows.
_JSON_BYTES = 128
# Of a value that is a word.
_WORD_BYTES = 32
_SCHEMA_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name : str
    values : sequence or ndarray
        One a row; of an array every further axis stands within the row. An object that is None is
        absent.
    unit : str or None
    """

    name: str
    values: Sequence[Any] | NDArray[Any]
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one length, and what is to be said beside them.

    Parameters
    ----------
    columns : tuple of Column
    about : mapping
        Of JSON the fields beside the rows; of Arrow the metadata of the schema.
    """

    columns: tuple[Column, ...]
    about: Mapping[str, Any] = field(default_factory=dict)


def choose_type(name: str | None, accept: str | None, offered: Mapping[str, str]) -> str:
    """Return the media type for ``format=name``, or else for an Accept header, or else the first.

    Raises
    ------
    InputError
        An unknown format.
    NotAcceptable
        An Accept header that leaves nothing, or Arrow where pyarrow is not installed.
    """
    first = next(iter(offered.values()))
    if name is not None:
        if name.lower() not in offered:
            raise InputError(f"format {name[:40]!r}: expected one of {', '.join(offered)}")
        chosen: str | None = offered[name.lower()]
    elif accept in (None, "", "*/*"):
        chosen = first
    else:
        chosen = choose(accept, list(offered.values()))
    if chosen is None:
        raise NotAcceptable(
            f"none of {(accept or '')[:200]!r} is served: expected one of "
            f"{', '.join(offered.values())}, or format= with {', '.join(offered)}"
        )
    if chosen == ARROW:
        _arrow()
    return chosen


def encoding_bytes(media_type: str, cells: int, nbytes: int) -> int:
    """Return the bytes that are held beside `cells` values of `nbytes` while they are encoded."""
    # Arrow has them once in its own order, and once as the stream that is sent.
    return cells * _JSON_BYTES if media_type == JSON else 2 * nbytes + _SCHEMA_BYTES


def table_bytes(table: Table, media_type: str) -> int:
    """Return the same of a table of numbers and words, each column a list."""
    cells = sum(len(column.values) for column in table.columns)
    return encoding_bytes(media_type, cells, cells * _WORD_BYTES)


def encode_table(table: Table, rows: str, media_type: str) -> bytes | memoryview:
    """Encode a table; in JSON its rows stand under the name `rows`."""
    if media_type == ARROW:
        return _arrow_stream(table)
    values = [json_values(column.values) for column in table.columns]
    names = [column.name for column in table.columns]
    listed = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    units = {c.name: c.unit for c in table.columns if c.unit}
    return to_json({rows: listed, "units": units, **table.about})


def json_values(values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    """Return values as JSON has them: NaN and infinities, which it has not, are null.

    >>> json_values(np.array([1.5, np.nan])), json_values([None, 2])
    ([1.5, None], [None, 2])
    """
    if not isinstance(values, np.ndarray):
        return list(values)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return list(values.tolist())
    boxed = values.astype(object)
    boxed[~np.isfinite(values)] = None
    return list(boxed.tolist())


def _arrow() -> ModuleType:
    """Return pyarrow.

    Raises
    ------
    NotAcceptable
        It is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - who asks for no Arrow needs none
        import pyarrow.ipc  # noqa: PLC0415
    except ImportError as error:
        raise NotAcceptable(
            f"{ARROW} is not served here: the service needs pyarrow "
            "(install the extra 'arrow' of microtome); ask for another format"
        ) from error
    module: ModuleType = pa
    return module


def _arrow_stream(table: Table) -> memoryview:
    pa = _arrow()
    arrays = [_arrow_array(pa, column.values) for column in table.columns]
    fields = [
        pa.field(column.name, array.type, metadata={"unit": column.unit} if column.unit else None)
        for column, array in zip(table.columns, arrays, strict=True)
    ]
    about = {
        name: value if isinstance(value, str) else to_json(value).decode()
        for name, value in table.about.items()
    }
    schema = pa.schema(fields, metadata=about)
    batch = pa.record_batch(arrays, schema=schema)
    # A stream that grows is copied as it does: its length is told beforehand.
    counted = pa.MockOutputStream()
    with pa.ipc.new_stream(counted, schema) as writer:
        writer.write_batch(batch)
    stream = bytearray(counted.size())
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(pa.py_buffer(stream)), schema) as writer:
        writer.write_batch(batch)
    return memoryview(stream)


def _arrow_array(pa: Any, values: Sequence[Any] | NDArray[Any]) -> Any:  # noqa: ANN401 - pyarrow's
    if isinstance(values, np.ndarray) and values.ndim > 1 and not values.size:
        kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), values.shape[1:])
        return pa.ExtensionArray.from_storage(kind, pa.array([], kind.storage_type))
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
    return pa.array(values)


def ragged(values: NDArray[Any], lengths: Sequence[int]) -> list[NDArray[Any]]:
    """Return one array a row, of values that follow each other.

    >>> [part.tolist() for part in ragged(np.arange(5), [2, 0, 3])]
    [[0, 1], [], [2, 3, 4]]
    """
    return np.split(values, np.cumsum(lengths)[:-1])
