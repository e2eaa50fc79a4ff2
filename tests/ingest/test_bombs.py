"""Small files that claim, or expand to, far more than they are."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from microtome_ingest.formats import scenes
from tests import bombs, trial
from tests.bombs import HUGE, npy, npz, page, tiff
from tests.trial import Outcome, Trials

MOST_MEMORY = 200 << 20
SECONDS = 5


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Start one process that reads."""
    with trial.running(tmp_path_factory.mktemp("bombs"), 1) as running:
        yield running


def small(outcome: Outcome) -> bool:
    """Tell whether a read took little memory and time, and ended as reads may."""
    assert outcome.fault is None, outcome
    assert outcome.peak < MOST_MEMORY, f"{outcome.peak >> 20} MiB: {outcome.text}"
    assert outcome.seconds < SECONDS, outcome
    return True


IMAGEJ = b"ImageJ=1.54\nimages=2000000000\nframes=2000000000\n\0"
SHAPED = b'{"shape": [4000000000, 65000, 65000]}\0'
OME = (
    b'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image '
    b'ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="65000" '
    b'SizeY="65000" SizeZ="2000000000" SizeC="1" SizeT="2000000000"><Channel ID="C:0"/><TiffData/>'
    b"</Pixels></Image></OME>\0"
)
DEEP = b"<?xml version='1.0'?><OME>" + b"<a>" * 100_000 + b"\0"
INFLATES = zlib.compress(bytes(1000))
# Blosc 1: version, format, flags, item size, bytes of voxels, of a block and of all.
BLOSC = struct.pack("<4B3I", 2, 1, 1, 1, (1 << 31) - 1, 1 << 20, 1016) + bytes(1000)
# compresso: magic, version, item size, steps, three extents.
COMPRESSO = b"cpso" + struct.pack("<5B3H", 0, 1, 4, 4, 1, 65_535, 65_535, 65_535) + bytes(100)
FILES: dict[str, Callable[[], bytes]] = {
    "plain.tif": lambda: tiff(page(HUGE * 100, HUGE), bytes(16)),
    "lzw.tif": lambda: tiff(page(HUGE, HUGE, 5), bytes(16)),
    "jpeg.tif": lambda: tiff(page(HUGE, HUGE, 7), bytes(16)),
    "deflate.tif": lambda: tiff(page(HUGE, HUGE, 8), bytes(16)),
    "packbits.tif": lambda: tiff(page(HUGE, HUGE, 32773), bytes(16)),
    "lzma.tif": lambda: tiff(page(HUGE, HUGE, 34925), bytes(16)),
    "zstd.tif": lambda: tiff(page(HUGE, HUGE, 50000), bytes(16)),
    "webp.tif": lambda: tiff(page(HUGE, HUGE, 50001), bytes(16)),
    "jpeg2000.tif": lambda: tiff(page(HUGE, HUGE, 34712), bytes(16)),
    "ccitt.tif": lambda: tiff(page(HUGE, HUGE, 4, bits=1), bytes(16)),
    "bits.tif": lambda: tiff(page(HUGE, HUGE, 1, bits=1), bytes(16)),
    "samples.tif": lambda: tiff(page(HUGE, HUGE, 8, samples=HUGE), bytes(16)),
    "rows.tif": lambda: tiff(page(16, (1 << 32) - 1, 8, rows=1), bytes(16)),
    "tile.tif": lambda: bombs.tiled(1 << 17, 8),
    "tile-plain.tif": lambda: bombs.tiled(1 << 17, 1),
    "imagej.tif": lambda: tiff(page(4, 4) | {270: IMAGEJ}, bytes(16)),
    "shaped.tif": lambda: tiff(page(4, 4) | {270: SHAPED}, bytes(16)),
    "ome.tif": lambda: tiff(page(4, 4) | {270: OME}, bytes(16)),
    "deep.ome.tif": lambda: tiff(page(4, 4) | {270: DEEP}, bytes(16)),
    "loop.tif": lambda: bombs.looped(3, 1),
    "overlap.tif": bombs.overlapping_pages,
    "claims.npy": lambda: npy((1 << 40, 1 << 20)),
    "overflow.npy": lambda: npy((1 << 32, 1 << 32)),
    "header.npy": lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", (1 << 32) - 1) + bytes(100),
    "claims.npz": lambda: npz({"a.npy": npy((1 << 40, 1 << 20), data=bytes(1000))}),
    "lies.npz": lambda: bombs.stored_size(npz({"a.npy": npy((HUGE, 16))}), (1 << 32) - 2),
    "lzma.npz": lambda: npz({"a.npy": npy((1 << 40, 16))}, zipfile.ZIP_LZMA),
    "nested.npz": lambda: npz({"a.npy": npz({"a.npy": npz({"a.npy": npy((HUGE, HUGE))})})}),
    "overlap.npz": bombs.overlapping_members,
    "size.png": lambda: bombs.png((1 << 31) - 1, (1 << 31) - 1),
    "rgba.png": lambda: bombs.png(1 << 15, 1 << 15, bits=16, color=6),
    "grey.png": lambda: bombs.png(1 << 14, 1 << 14, bits=16),
    "size.jpg": lambda: bombs.jpeg(65_500, 65_500),
    "wide.jpg": lambda: bombs.jpeg(16_000, 16_000),
    "dims.nii": lambda: bombs.nifti((32_767,) * 7),
    "dims.nii.gz": lambda: gzip.compress(bombs.nifti((32_767,) * 4)),
    "deflate.nii.gz": lambda: gzip.compress(bombs.nifti((32_767,) * 2, bytes(1000))),
    "sizes.nrrd": lambda: bombs.nrrd("65000 65000 65000", "raw", bytes(1000)),
    "gzip.nrrd": lambda: bombs.nrrd("65000 65000 65000", "gzip", gzip.compress(bytes(1000))),
    "text.nrrd": lambda: bombs.nrrd("65000 65000 65000", "ascii", b"1 2 3"),
    "outside.nhdr": lambda: bombs.nrrd("4 4", "raw", more="data file: /etc/passwd\n"),
    "above.nhdr": lambda: bombs.nrrd("4 4", "raw", more="data file: ../../../etc/passwd\n"),
    "frame.avi": lambda: bombs.avi(65_000, 65_000),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_claims_are_refused_before_memory_is_asked_for(
    trials: Trials, tmp_path: Path, name: str
) -> None:
    """What no file of that size can hold, and what leads round in circles, is refused at once."""
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    assert path.stat().st_size < 1 << 20
    outcome = trials.read(path)
    assert small(outcome)
    assert outcome.kind == "refused", outcome
    assert outcome.text.startswith("SourceError")


CHUNKED: dict[str, Callable[[Path], object]] = {
    "chunk.zarr": lambda p: bombs.zarr2(p, (1 << 17,) * 2, (1 << 17,) * 2, "zlib", INFLATES),
    "gzip.zarr": lambda p: bombs.zarr2(p, (64, 64), (64, 64), "gzip", bombs.zeros(1 << 30)),
    "blosc.zarr": lambda p: bombs.zarr2(p, (64, 64), (64, 64), "blosc", BLOSC),
    "shape.zarr": lambda p: bombs.zarr2(p, (1 << 62, 1 << 62), (64, 64), "zlib", INFLATES),
    "block.n5": lambda p: bombs.n5(p, 1 << 12, INFLATES),
    "gzip.n5": lambda p: bombs.n5(p, 64, bombs.zeros(1 << 30)),
    "raw": lambda p: bombs.precomputed(p, 1 << 12, "raw", bytes(1000)),
    "gzip": lambda p: bombs.precomputed(p, 64, "raw", bombs.zeros(1 << 30)),
    "png": lambda p: bombs.precomputed(p, 1 << 10, "png", bombs.png(1 << 10, 1 << 20)),
    "jpeg": lambda p: bombs.precomputed(p, 64, "jpeg", bombs.jpeg(65_500, 65_500)),
    "seg": lambda p: bombs.precomputed(p, 64, "compressed_segmentation", bytes(1000)),
    "compresso": lambda p: bombs.precomputed(p, 64, "compresso", COMPRESSO),
}  # fmt: skip


@pytest.mark.parametrize("name", CHUNKED)
def test_chunks_are_no_larger_than_they_may_be(trials: Trials, tmp_path: Path, name: str) -> None:
    """What a chunk claims or inflates to beyond its extents is damage, found without holding it."""
    CHUNKED[name](tmp_path / name)
    outcome = trials.read(tmp_path / name)
    assert small(outcome)
    assert outcome.kind == "refused", outcome


def test_gzip_that_goes_on_for_gigabytes_is_left(trials: Trials, tmp_path: Path) -> None:
    """What comes after the voxels that a header claims is not inflated into memory."""
    data = bombs.zeros(1 << 30, bombs.nifti((64, 64), bytes(64)))
    (tmp_path / "a.nii.gz").write_bytes(data)
    assert small(trials.read(tmp_path / "a.nii.gz"))


@pytest.mark.parametrize("kind", bombs.HDF5)
def test_hdf5_that_leads_elsewhere_or_claims_too_much_is_refused(
    trials: Trials, tmp_path: Path, kind: str
) -> None:
    """Other files are never opened, and a chunk is no larger than its bytes can inflate to."""
    bombs.hdf5(tmp_path / "a.h5", kind)
    outcome = trials.read(tmp_path / "a.h5")
    assert small(outcome)
    assert outcome.kind == "refused", outcome


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_pickles_are_never_loaded(trials: Trials, tmp_path: Path, name: str) -> None:
    """Objects are refused by name, and nothing of what they would do is done."""
    target = tmp_path / "touched"
    data = bombs.pickled(target)
    (tmp_path / name).write_bytes(npz({"a.npy": data}) if name == "a.npz" else data)
    outcome = trials.read(tmp_path / name)
    assert small(outcome)
    assert (outcome.kind, "object" in outcome.text) == ("refused", True)
    assert not target.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True) if name == "a.npy" else None
    assert target.exists() == (name == "a.npy")  # it would have been


def test_archives_of_very_many_members_are_no_burden(trials: Trials, tmp_path: Path) -> None:
    """One member named many times is damage; many of them are each looked at once."""
    (tmp_path / "same.npz").write_bytes(bombs.shared_member(20_000))
    outcome = trials.read(tmp_path / "same.npz")
    assert small(outcome)
    assert "more than once" in outcome.text
    many = npz({f"{i}.npy": npy((2, 2), data=bytes(8)) for i in range(1_000)})
    (tmp_path / "many.npz").write_bytes(many)
    assert len(scenes(str(tmp_path / "many.npz"))) == 1_000
    assert small(trials.read(tmp_path / "many.npz"))


def test_zeros_that_inflate_to_much_take_no_memory(trials: Trials, tmp_path: Path) -> None:
    """What may be true, 256 MiB of zeros in as many kB, is read without holding it."""
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy((512, 1024, 256)))
        for _ in range(256):
            member.write(bytes(1 << 20))
    outcome = trials.read(tmp_path / "a.npz")
    assert (outcome.kind, outcome.peak < MOST_MEMORY) == ("read", True), outcome


@pytest.mark.slow
def test_a_million_pages_are_refused(trials: Trials, tmp_path: Path) -> None:
    """Nobody waits, or runs out of memory, for more pages than any camera leaves."""
    data = tiff(page(4, 4), bytes(16), 1_000_000)
    (tmp_path / "a.tif").write_bytes(data)
    outcome = trials.read(tmp_path / "a.tif")
    assert outcome.fault is None, outcome
    assert "more than 500000 pages" in outcome.text


def test_a_pyramid_in_a_page_that_holds_itself(trials: Trials, tmp_path: Path) -> None:
    """SubIFDs that point to their own page end."""
    data = bytearray(tiff(page(4, 4) | {330: 24}, bytes(16)))
    (tmp_path / "a.tif").write_bytes(data)
    assert small(trials.read(tmp_path / "a.tif"))
    tifffile.imread(tmp_path / "a.tif")
