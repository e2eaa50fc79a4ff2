"""A table of sources: each row says what is to be made of which, in the words of ``ingest``."""

import argparse
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import NoReturn

from microtome_cli import recordings
from microtome_cli.layer_arguments import add_layer_arguments
from microtome_cli.options import ALL, storage_options
from microtome_core.errors import InputError, SourceError
from microtome_core.store.array import Codec
from microtome_core.store.location import StorageOptions
from microtome_ingest.answers import parse_voxel_size
from microtome_ingest.extents import Extents
from microtome_ingest.files import Files
from microtome_ingest.metadata_file import read_metadata

SOURCE, LAYER = "source", "layer"
# Columns that hold an option of ``ingest`` of the same name.
OPTIONS = (
    "axes", "voxel_size", "unit", "time_step", "channels", "colors", "scene", "metadata", "kind",
    "labels_of", "chunk", "shard", "codec", "levels",
)  # fmt: skip
# Of each, what reads it; argparse reads the others.
_READ: Mapping[str, Callable[[str], object]] = {
    LAYER: recordings.layer_of,
    "voxel_size": parse_voxel_size,
    "chunk": Extents.parse,
    "shard": Extents.parse,
    "codec": Codec.parse,
}
# For a layer that cannot be, while the rest of its row is looked at.
STAND_IN = "a/b/c"
# A table is read whole: some thousand rows.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Parameters
    ----------
    line : int
        In the file, from 1 on.
    words : dict of str to str
        By column; those that are empty are left out.
    """

    line: int
    words: dict[str, str]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done for a row.

    Parameters
    ----------
    line : int
        Of the table.
    arguments : argparse.Namespace
        Of ``ingest``, by those cells that can be read.
    faults : dict of str to str
        What is wrong with the others, by column.
    """

    line: int
    arguments: argparse.Namespace
    faults: dict[str, str]


def read_table(path: str, options: StorageOptions) -> list[Row]:
    """Read a table of comma-separated values, or of tabs where its name ends in ``.tsv``.

    Returns
    -------
    list of Row
        Without those that are empty.

    Raises
    ------
    SourceError
        No such file, no UTF-8, no rows, or columns that are missing, unknown or named twice.
    """
    with Files(options).open(path) as data, data.stream() as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise SourceError(path, f"more than {_MOST_BYTES} bytes: expected a table of sources")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(path, f"byte {error.start} is no UTF-8") from error
    try:
        rows = list(_rows(path, text))
    except csv.Error as error:
        raise SourceError(path, f"no table: {error}") from error
    if not rows:
        raise SourceError(path, "has no rows below its header")
    return rows


def _rows(path: str, text: str) -> Iterator[Row]:
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = _columns(path, next(reader, []))
    before = reader.line_num
    for cells in reader:
        line, before = before + 1, reader.line_num
        filled = [cell.strip() for cell in cells]
        if not any(filled):
            continue
        if any(filled[len(columns) :]):
            raise SourceError(
                path,
                f"line {line} has {len(cells)} cells and the header {len(columns)}: quote a cell "
                'that holds commas, "z=2,y=0.5,x=0.5"',
            )
        yield Row(line, {name: cell for name, cell in zip(columns, filled, strict=False) if cell})


def _columns(path: str, header: Sequence[str]) -> list[str]:
    columns = [name.strip().lower().replace("-", "_").replace(" ", "_") for name in header]
    known = (SOURCE, LAYER, *OPTIONS)
    if odd := [name for name in columns if name not in known]:
        hint = "; cells are parted by commas" if ";" in odd[0] or "\t" in odd[0] else ""
        raise SourceError(
            path, f"column {odd[0][:40]!r}: expected some of {', '.join(known)}{hint}"
        )
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise SourceError(path, f"column {twice[0]!r} stands there twice")
    if lacking := [name for name in (SOURCE, LAYER) if name not in columns]:
        raise SourceError(path, f"no column {lacking[0]!r}: expected {SOURCE} and {LAYER}")
    return columns


def order(row: Row, table: str, common: argparse.Namespace) -> Order:
    """Return what `ingest` is to do for a row; paths in it are from the table's folder.

    Parameters
    ----------
    row : Row
    table : str
        Its path or address.
    common : argparse.Namespace
        What is said of all rows: root, memory and so on.
    """
    words = {**row.words}
    for name in (SOURCE, "metadata"):
        if name in words:
            words[name] = beside(table, words[name])
    faults = {name: f"no {name}" for name in (SOURCE, LAYER) if name not in words}
    for name, text in words.items():
        if fault := _fault(name, text, table, common):
            faults[name] = fault
    parsed = _parse({name: text for name, text in words.items() if name not in faults})
    of_all = {"array_index": None, "commit": False}
    return Order(row.line, argparse.Namespace(**{**vars(parsed), **vars(common), **of_all}), faults)


def _fault(name: str, text: str, table: str, common: argparse.Namespace) -> str:
    """Return what is wrong with a cell, whatever is in the others."""
    if name in (SOURCE, "metadata") and not common.local_files and _is_of_here(text, table):
        return (
            f"{name} {text[:80]!r}: a table at an address may name files of this machine only "
            "with --local-files"
        )
    try:
        if name in _READ:
            _READ[name](text)
        if name == "metadata":
            read_metadata(text, storage_options(common))
        if name in OPTIONS:
            _parse({name: text})
    except InputError as error:
        return str(error)
    return ""


def _is_of_here(text: str, table: str) -> bool:
    scheme, mark, _ = table.partition("://")
    own, own_mark, _ = text.partition("://")
    remote = bool(mark) and scheme.lower() != "file"
    return remote and (not own_mark or own.lower() in ("file", "local"))


def _parse(words: Mapping[str, str]) -> argparse.Namespace:
    parser = _RowParser(add_help=False, allow_abbrev=False)
    add_layer_arguments(parser, all_scenes=True)
    options = [f"--{n.replace('_', '-')}={words[n]}" for n in OPTIONS if n in words]
    layer = f"--as={words.get(LAYER, STAND_IN)}"
    return parser.parse_args([layer, *options, "--", words.get(SOURCE, ""), "root"])


def beside(table: str, path: str) -> str:
    """Return a path as it is from the folder of the table.

    >>> beside("/data/lab/table.csv", "brain.tif"), beside("s3://lab/a/table.csv", "b.tif")
    ('/data/lab/brain.tif', 's3://lab/a/b.tif')
    """
    if "://" in path or Path(path).is_absolute():
        return path
    folder, slash, _ = table.rpartition("/")
    return f"{folder}{slash}{path}"


def names(arguments: argparse.Namespace) -> str:
    """Return the layer that an order makes; of several images the name that all begin with."""
    if arguments.layer.count("/") == 1:
        return str(recordings.layer_of(arguments.layer))
    return str(arguments.layer) + ("-*" if arguments.scene == ALL else "")


def image_of(arguments: argparse.Namespace) -> str | None:
    """Return the layer of whose image an order makes the labels."""
    if not arguments.labels_of:
        return None
    return f"{arguments.layer.rpartition('/')[0]}/{arguments.labels_of}"


class _RowParser(argparse.ArgumentParser):
    """Reads the cells of a row; what is wrong is an error and not the end."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))
