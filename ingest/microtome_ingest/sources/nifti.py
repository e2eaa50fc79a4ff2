"""NIfTI-1, NIfTI-2 and Analyze 7.5: one file or a pair, as they are or gzipped.

Sources of the formats: nifti1.h, nifti2.h, Analyze 7.5 dbh.h. x is first in the file, so in the
order of memory it is last: the axes are t z y x. Scaling is nibabel's, to the last bit.
"""

import re
from functools import partial
from typing import Any

import numpy as np
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes, Files
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.inflated import RATIOS, check_ratio, decoded
from microtome_ingest.sources.nifti_facts import Layout, NiftiFacts, facts, lay
from microtome_ingest.sources.nifti_header import LONGEST, parse
from microtome_ingest.sources.raw_source import Convert, Piece, RawSource, assign

_PAIR = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
# Extensions beyond are left out.
_MOST_HEADER = 16 << 20


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> RawSource:
    """Open the image of a ``.nii`` file, or of a pair by either of its files.

    Raises
    ------
    SourceError
        Damage, a header that claims more than the file can hold, half a pair, CIFTI, fewer than two
        axes, or voxels of a type that microtome does not store.
    """
    files = files or Files()
    if scene not in (None, 0):
        raise SourceError(path, f"has no scene {scene}: it holds one image")
    head, body = _members(path, files)
    with strict(head, log="nibabel"):
        block = _beginning(files, head, LONGEST)
        header = parse(block, head, pair=head != body)
        offset, layout = header.offset(head), lay(header, head)
        piece, notes = _piece(files, body, offset, layout)
        rest = min(offset if header.single else _MOST_HEADER, _MOST_HEADER)
        block = block[:rest] if len(block) >= rest else _beginning(files, head, rest)
        found = facts(header, layout, block)
    notes += _matlab(head, files) if header.is_analyze else ()
    both = tuple(dict.fromkeys((head, body)))
    description = _description(header.format, layout, found, both, notes)
    convert = _scaled(*layout.scaling) if layout.scaling else assign
    return RawSource(description, files, layout.stored, [piece], convert=convert)


def _description(
    name: str, layout: Layout, found: NiftiFacts, paths: tuple[str, ...], notes: tuple[str, ...]
) -> Description:
    return Description(
        format=name,
        axes=layout.axes,
        shape=layout.shape,
        dtype=layout.dtype,
        block=_planes(layout),
        files=paths,
        voxel_size=found.voxel_size,
        unit=found.unit,
        time_step=found.time_step,
        channels=found.channels,
        metadata=found.metadata,
        notes=layout.notes + found.notes + notes,
    )


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """Return the one image."""
    found = open_image(path, files=files).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def _members(path: str, files: Files) -> tuple[str, str]:
    """Return the file of the header and that of the voxels."""
    match = _PAIR.search(path)
    if match is None:
        return path, path
    word, packed = match[1], match[2] or ""
    other = {"hdr": "img", "img": "hdr"}[word.lower()]
    other = other.upper() if word.isupper() else other
    beside = [f"{path[: match.start()]}.{other}{end}" for end in (packed, "" if packed else ".gz")]
    found = next((file for file in beside if files.kind(file) == "file"), None)
    if found is None:
        raise SourceError(path, f"is half of a pair: {beside[0]} is missing")
    return (path, found) if word.lower() == "hdr" else (found, path)


def _is_gzip(data: Bytes) -> bool:
    return bytes(data.read(0, min(2, data.stamp.size))) == _GZIP


def _beginning(files: Files, path: str, count: int) -> bytes:
    """Return up to `count` of the first bytes of a file, decoded if it is gzipped."""
    with files.open(path) as data:
        if not _is_gzip(data):
            return bytes(data.read(0, min(count, data.stamp.size)))
        with decoded(data, "gzip") as stream:
            return stream.read(count)


def _piece(files: Files, path: str, offset: int, layout: Layout) -> tuple[Piece, tuple[str, ...]]:
    """Return where the voxels are, after checking that the file can hold them, and what follows."""
    needed = offset + layout.nbytes
    with files.open(path) as data:
        size = data.stamp.size
        # The voxels of an .img file may begin with these bytes by chance.
        if _is_gzip(data) and (path.lower().endswith(".gz") or not _PAIR.search(path)):
            check_ratio(path, needed, size, RATIOS["gzip"])
            return Piece(path, offset, partial(decoded, encoding="gzip")), ()
    if needed > size:
        raise SourceError(path, f"its header claims {needed} bytes, but it has {size}: truncated")
    behind = f"{size - needed} bytes behind the voxels that its header claims are not read"
    return Piece(path, offset), (behind,) if size > needed else ()


def _planes(layout: Layout) -> tuple[int, ...]:
    """Return the extents of a plane, its voxels being whole."""
    count = 3 if layout.axes[-1] == "s" else 2
    return (1,) * (len(layout.shape) - count) + layout.shape[-count:]


def _matlab(head: str, files: Files) -> tuple[str, ...]:
    """Say that SPM keeps the affine of an Analyze pair in a file of its own."""
    beside = _PAIR.sub(".mat", head)
    if files.kind(beside) != "file":
        return ()
    return (f"SPM's affine in {beside} is not read",)


def _scaled(slope: float, inter: float) -> Convert:
    """Return nibabel's scaling, a plane at a time so that no copies of the whole are made."""

    def convert(stored: NDArray[Any], target: NDArray[Any]) -> None:
        with np.errstate(all="ignore"):  # values beyond the type become infinite, as in nibabel
            for index in np.ndindex(stored.shape[:-2]):
                target[index] = apply_read_scaling(stored[index], slope, inter)

    return convert
