"""CZI: what is missing, cut off or not decoded is refused, and never passed off as 0."""

import os
import struct
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pylibCZIrw import czi as lib

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source
from microtome_ingest.sources import czi
from tests.counted import Counted
from tests.ingest.czi_made import Tile, noise, saved
from tests.ingest.test_czi import NONE, read, whole
from tests.ingest.test_czi_facts import timed


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ((1, 1, 0), "1 of 12 planes are missing, the first at T 1, Z 1, C 0"),
        ((None, 1, None), "planes along Z are missing: 0 is followed by 2"),
        ((None, None, 1), r"^(?!.*missing)"),
    ],
    ids=["plane", "depth", "channel"],
)
def test_missing_planes_are_refused(
    tmp_path: Path, gone: tuple[int | None, ...], reason: str
) -> None:
    """A plane that libCZI would give as zeros is an error that names it."""
    tiles = [
        Tile(noise((4, 4)), {"T": t, "Z": z, "C": c})
        for t, z, c in product(range(2), range(3), range(2))
        if any(n is not None and n != at for n, at in zip(gone, (t, z, c), strict=True))
    ]
    path = saved(tmp_path, tiles)
    if gone[2] == 1:  # the last channel of all is no gap
        assert czi.open_image(path).description.shape == (2, 3, 4, 4)
        return
    with pytest.raises(SourceError, match=reason):
        czi.open_image(path)


def test_missing_channels_and_tiles_are_refused(tmp_path: Path) -> None:
    """A gap among channels, and a tile that other planes have or that was counted, is an error."""
    tile = noise((4, 4))
    far = saved(tmp_path, [Tile(tile, {"C": c}) for c in (0, 2)])
    with pytest.raises(SourceError, match="channels are missing: 0 is followed by 2"):
        czi.open_image(far)
    every = [Tile(tile, {"Z": z, "M": m}, (4 * m, 0)) for z in range(2) for m in range(3)]
    np.testing.assert_array_equal(read(saved(tmp_path, every)).shape, (2, 4, 12))
    with pytest.raises(SourceError, match="tile 1 is missing at T 0, Z 1, C 0"):
        czi.open_image(saved(tmp_path, every[:4] + every[5:]))
    with pytest.raises(SourceError, match="tiles are missing: 0 is followed by 2"):
        czi.open_image(saved(tmp_path, [every[0], every[2]]))


def test_subblocks_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    """A subblock without a coordinate that others have would not be found."""
    tiles = [Tile(noise((4, 4)), {"Z": 0}), Tile(noise((4, 4)), {"Z": 1}), Tile(noise((4, 4)), {})]
    with pytest.raises(SourceError, match="no place along Z"):
        czi.open_image(saved(tmp_path, tiles))


def jpeg_xr(voxels: NDArray[Any], **options: Any) -> Tile:  # noqa: ANN401
    """Return a tile that is compressed without loss."""
    payload = imagecodecs.jpegxr_encode(voxels, level=1.0, photometric="MINISBLACK")
    return Tile(voxels, NONE, compression=4, payload=payload, **options)


def test_jpeg_xr_is_read_and_told(tmp_path: Path) -> None:
    """It may have lost detail, which is noted."""
    voxels = noise((64, 48), "uint8")
    path = saved(tmp_path, [jpeg_xr(voxels)])
    np.testing.assert_array_equal(read(path), voxels)
    assert "JPEG XR" in czi.open_image(path).description.notes[0]


def short(kind: str) -> Tile:
    """Return a subblock that holds fewer voxels than it says."""
    half, full = noise((32, 48), "uint8"), noise((64, 48), "uint8")
    if kind == "jpeg xr":
        return Tile(full, NONE, compression=4, payload=jpeg_xr(half).payload)
    data = half.tobytes()
    zstd = imagecodecs.zstd_encode(data, level=1)
    payload = {"none": (0, data), "zstd0": (5, zstd), "zstd1": (6, b"\1" + zstd)}[kind]
    return Tile(full, NONE, compression=payload[0], payload=payload[1])


@pytest.mark.parametrize("kind", ["none", "zstd0", "zstd1", "jpeg xr"])
def test_a_subblock_that_is_not_whole_is_refused(tmp_path: Path, kind: str) -> None:
    """What libCZI fills with zeros without a word, microtome refuses by name."""
    path = saved(tmp_path, [short(kind)])
    with lib.open_czi(path) as file:
        assert not file.read()[32:].any()
    with pytest.raises(SourceError, match=r"a\.czi: the subblock at byte 544 holds"):
        read(path)


@pytest.mark.parametrize(
    ("tile", "reason"),
    [
        (Tile(noise((4, 4)), NONE, pixel=12), "voxels of Gray32: read are Gray8"),
        (Tile(noise((4, 4)), NONE, pixel=77), "voxels of kind 77"),
        (Tile(noise((4, 4)), NONE, compression=1), "compressed with JPEG, which is not read"),
        (Tile(noise((4, 4)), NONE, compression=1003), "method 1003 of a camera"),
    ],
    ids=["uint32", "unknown", "JPEG", "camera"],
)
def test_what_libczi_does_not_decode_is_refused_by_name(
    tmp_path: Path, tile: Tile, reason: str
) -> None:
    """Types of voxels and compressions that are not read are told when the file is opened."""
    with pytest.raises(SourceError, match=reason):
        czi.open_image(saved(tmp_path, [tile]))


def test_one_of_several_files_is_refused(tmp_path: Path) -> None:
    """A recording that goes on in other files is not read as its first part."""
    with pytest.raises(SourceError, match="one of several files"):
        czi.open_image(saved(tmp_path, [Tile(noise((4, 4)), NONE)], part=1))


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.97])
def test_a_file_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    """Wherever it ends."""
    path = Path(timed(tmp_path, [0.0, 1.0, 2.0]))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SourceError, match=r"a\.czi"):
        read(str(path), 0)


@pytest.mark.parametrize("claim", [2**31 - 1, -1, 10**6])
def test_a_directory_that_claims_too_much_is_refused(tmp_path: Path, claim: int) -> None:
    """Before anything is set aside for it."""
    path = Path(saved(tmp_path, [Tile(noise((4, 4)), NONE)]))
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, data.find(b"ZISRAWDIRECTORY") + 32, claim)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"claims {claim} subblocks"):
        czi.open_image(str(path))


def test_a_directory_that_claims_too_little_is_refused(tmp_path: Path) -> None:
    """A time point less would be a shorter recording."""
    path = Path(saved(tmp_path, [Tile(noise((4, 4)), {"T": t}) for t in range(3)]))
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, data.find(b"ZISRAWDIRECTORY") + 32, 2)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="holds more than 2 subblocks"):
        czi.open_image(str(path))


def test_a_subblock_too_large_to_be_one_is_refused(tmp_path: Path) -> None:
    """A few bytes that claim gigabytes are not handed to libCZI."""
    huge = np.broadcast_to(np.uint8(0), (1 << 20, 1 << 20))
    tile = Tile(huge, NONE, compression=5, payload=b"\x28\xb5\x2f\xfd" + bytes(20))
    with pytest.raises(SourceError, match="1048576 × 1048576 voxels: refused"):
        czi.open_image(saved(tmp_path, [tile]))


@pytest.mark.parametrize("at", [2, 32 + 4], ids=["pixels", "x"])
def test_another_subblock_than_the_directory_says_is_refused(tmp_path: Path, at: int) -> None:
    """Both say what it holds and where it belongs, and must agree."""
    path = Path(saved(tmp_path, [Tile(noise((4, 4)), NONE)]))
    data = bytearray(path.read_bytes())
    data[544 + 32 + 16 + at] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match="not what its directory says"):
        read(str(path))


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    path = saved(tmp_path, [Tile(noise((4, 4)), NONE)])
    source = czi.open_image(path)
    whole(source)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)


def test_a_url_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Only local files can be opened by libCZI."""
    Counted.reset()
    path = saved(tmp_path, [Tile(noise((4, 4)), NONE)])
    with pytest.raises(SourceError, match="copy it there first"):
        open_source(Counted.put("a.czi", Path(path).read_bytes()))
