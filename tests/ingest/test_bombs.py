"""Small files that claim, or expand to, far more than they are."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

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


@pytest.mark.parametrize("kind", ["link", "storage", "virtual", "claims", "chunk"])
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


def test_an_archive_of_one_member_many_times_is_no_burden(trials: Trials, tmp_path: Path) -> None:
    """Each entry of a directory is looked at once."""
    (tmp_path / "a.npz").write_bytes(bombs.shared_member(20_000))
    assert small(trials.read(tmp_path / "a.npz"))


def test_zeros_that_inflate_to_gigabytes_take_no_memory(trials: Trials, tmp_path: Path) -> None:
    """What may be true, a gigabyte of zeros in a megabyte, is read without holding it."""
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy((1024, 1024, 512)))
        for _ in range(1024):
            member.write(bytes(1 << 20))
    assert small(trials.read(tmp_path / "a.npz"))


def test_a_million_pages_are_walked_in_seconds(trials: Trials, tmp_path: Path) -> None:
    """So many pages are refused or read, but nobody waits or runs out of memory for them."""
    data = tiff(page(4, 4), bytes(16), 1_000_000)
    (tmp_path / "a.tif").write_bytes(data)
    outcome = trials.read(tmp_path / "a.tif")
    assert outcome.fault is None, outcome
    print(outcome)


def test_a_pyramid_in_a_page_that_holds_itself(trials: Trials, tmp_path: Path) -> None:
    """SubIFDs that point to their own page end."""
    data = bytearray(tiff(page(4, 4) | {330: 24}, bytes(16)))
    (tmp_path / "a.tif").write_bytes(data)
    assert small(trials.read(tmp_path / "a.tif"))
    tifffile.imread(tmp_path / "a.tif")
