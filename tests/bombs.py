"""Small files that claim, or expand to, far more than they are."""

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

HUGE = 65_000


def tiff(
    tags: Mapping[int, int | bytes | tuple[int, ...]], more: bytes = b"", pages: int = 1
) -> bytes:
    """Return a little-endian TIFF with the same tags on all pages; `more` lies at byte 8."""
    body, result, place = bytearray(), bytearray(), 8 + len(more)
    size = 2 + 12 * len(tags) + 4
    extra = place + pages * size
    for code, value in sorted(tags.items()):
        values = (value,) if isinstance(value, int) else value
        packed = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            at, packed = extra + len(body), packed + bytes(len(packed) % 2)
            body += packed
            packed = struct.pack("<I", at)
        kind = 2 if isinstance(value, bytes) else 4
        result += struct.pack("<HHI", code, kind, len(values)) + packed.ljust(4, b"\0")
    directories = b"".join(
        struct.pack("<H", len(tags))
        + bytes(result)
        + struct.pack("<I", place + (i + 1) * size if i + 1 < pages else 0)
        for i in range(pages)
    )
    return b"II*\0" + struct.pack("<I", place) + more + directories + bytes(body)


def page(
    width: int, length: int, compression: int = 1, bits: int = 8, **more: int
) -> dict[int, int | bytes | tuple[int, ...]]:
    """Return the tags of a grey page in one strip at byte 8."""
    names = {"rows": 278, "samples": 277, "format": 339, "tile_width": 322, "tile_length": 323}
    tags: dict[int, int | bytes | tuple[int, ...]] = {
        256: width, 257: length, 258: bits, 259: compression, 262: 1, 273: 8, 277: 1,
        278: length, 279: 16,
    }  # fmt: skip
    return tags | {names[name]: value for name, value in more.items()}


def tiled(side: int, compression: int) -> bytes:
    """Return a TIFF with one tile of that size."""
    tags = page(side, side, compression) | {322: side, 323: side, 324: 8, 325: 16}
    return tiff(
        {code: value for code, value in tags.items() if code not in (273, 278, 279)}, bytes(16)
    )


def looped(pages: int, back: int) -> bytes:
    """Return a TIFF whose last page points back to one of its pages."""
    data = bytearray(tiff(page(4, 4), bytes(16), pages))
    size = 2 + 12 * 9 + 4
    struct.pack_into("<I", data, 24 + pages * size - 4, 24 + back * size)
    return bytes(data)


def overlapping_pages(count: int = 12_000, tags: int = 4096) -> bytes:
    """Return a TIFF of 100 kB with many directories of many tags, four bytes apart."""
    assert count < 3 * tags
    data = bytearray(8 + 2 + 12 * tags + 4 * count)
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    for i in range(count):
        at = 8 + 4 * i
        struct.pack_into("<H", data, at, tags)
        struct.pack_into("<I", data, at + 2 + 12 * tags, at + 4 if i + 1 < count else 0)
    return bytes(data)


def stored_size(data: bytes, size: int) -> bytes:
    """Return an archive whose first member claims to be `size` bytes large."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, size)
    struct.pack_into("<I", changed, 22, size)
    return bytes(changed)


def npy(shape: Sequence[int], descr: str = "<u2", data: bytes = b"") -> bytes:
    """Return an NPY file that claims a shape."""
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


def npz(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def shared_member(count: int) -> bytes:
    """Return an archive whose central directory names one member `count` times."""
    data = npz({"0.npy": npy((64, 64), data=bytes(8192))})
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    records = data[at:end] * count
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(records), at, 0)
    return data[:at] + records + tail


def overlapping_members() -> bytes:
    """Return an archive whose first member reaches over the second (as in zbsm.zip)."""
    kernel = npz({"b.npy": npy((64, 64), data=bytes(8192))}, zipfile.ZIP_STORED)
    local = kernel[: kernel.index(b"PK\x01\x02")]
    data = npz({"a.npy": local + bytes(64), "b.npy": b""}, zipfile.ZIP_STORED)
    first = bytearray(data)
    second = first.rindex(b"PK\x01\x02")
    struct.pack_into("<I", first, second + 42, 30 + len("a.npy"))
    struct.pack_into("<2I", first, second + 20, len(local) - 35, len(local) - 35)
    return bytes(first)


def png(width: int, height: int, bits: int = 8, color: int = 0) -> bytes:
    """Return a PNG with a true header and next to no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">2I5B", width, height, bits, color, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG that claims another size."""
    import imagecodecs

    data = bytearray(imagecodecs.jpeg_encode(np.zeros((16, 16, 3), "uint8")))
    struct.pack_into(">2H", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def nifti(shape: Sequence[int], data: bytes = b"") -> bytes:
    """Return a NIfTI-1 file of bytes that claims a shape (nifti1.h: dim, datatype, bitpix)."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *(1,) * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, 2, 8)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    return bytes(head) + data


def zeros(size: int, before: bytes = b"") -> bytes:
    """Return some bytes and then very many zeros, as gzip has them."""
    packer, mebibyte = zlib.compressobj(9, wbits=-15), bytes(1 << 20)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block refers to nothing before it: packed once, it may come again.
    block = packer.compress(mebibyte) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(before)
    for _ in range(size >> 20):
        crc = zlib.crc32(mebibyte, crc)
    packed = head + block * (size >> 20) + packer.flush()
    total = len(before) + (size >> 20 << 20)
    return gzip.compress(b"")[:10] + packed + struct.pack("<II", crc, total & 0xFFFFFFFF)


def nrrd(sizes: str, encoding: str, data: bytes = b"", more: str = "") -> bytes:
    """Return an NRRD file that claims sizes."""
    count = len(sizes.split())
    head = f"NRRD0004\ntype: uint8\ndimension: {count}\nsizes: {sizes}\nencoding: {encoding}\n"
    return f"{head}{more}\n".encode() + data


def zarr2(
    folder: Path, shape: Sequence[int], chunks: Sequence[int], codec: str, chunk: bytes
) -> None:
    """Write a Zarr 2 array with one chunk."""
    folder.mkdir()
    says = {
        "zarr_format": 2, "shape": list(shape), "chunks": list(chunks), "dtype": "|u1",
        "compressor": {"id": codec}, "fill_value": 0, "order": "C", "filters": None,
    }  # fmt: skip
    (folder / ".zarray").write_text(json.dumps(says))
    (folder / ".".join("0" * len(shape))).write_bytes(chunk)


def n5(folder: Path, size: int, chunk: bytes) -> None:
    """Write an N5 array of one block, after whose header `chunk` comes."""
    (folder / "0/0").mkdir(parents=True)
    says = {
        "dimensions": [size] * 3, "blockSize": [size] * 3, "dataType": "uint8",
        "compression": {"type": "gzip"},
    }  # fmt: skip
    (folder / "attributes.json").write_text(json.dumps(says))
    (folder / "0/0/0").write_bytes(struct.pack(">2H3I", 0, 3, size, size, size) + chunk)


def precomputed(folder: Path, size: int, encoding: str, chunk: bytes) -> None:
    """Write a Neuroglancer precomputed volume of one chunk."""
    (folder / "a").mkdir(parents=True)
    scale = {
        "key": "a", "size": [size] * 3, "chunk_sizes": [[size] * 3], "encoding": encoding,
        "resolution": [1, 1, 1], "voxel_offset": [0, 0, 0],
    }  # fmt: skip
    says = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
    (folder / "info").write_text(json.dumps(says))
    (folder / "a" / "_".join([f"0-{size}"] * 3)).write_bytes(chunk)


def avi(width: int, height: int) -> bytes:
    """Return an AVI of one raw frame that claims a size (RIFF; BITMAPINFOHEADER)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def listed(kind: bytes, data: bytes) -> bytes:
        return chunk(b"LIST", kind + data)

    main = struct.pack("<14I", 40_000, 0, 0, 0, 1, 0, 1, 0, width, height, 0, 0, 0, 0)
    stream = struct.pack(
        "<4s4sI2H8I4H", b"vids", b"DIB ", 0, 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, 0, 0, 0, 0
    )
    picture = struct.pack("<Iii2H6I", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    header = listed(b"strl", chunk(b"strh", stream) + chunk(b"strf", picture))
    body = listed(b"hdrl", chunk(b"avih", main) + header) + listed(
        b"movi", chunk(b"00db", bytes(64))
    )
    return chunk(b"RIFF", b"AVI " + body)


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path(self.path),)


def pickled(target: Path) -> bytes:
    """Return an NPY file of objects that touches a file when it is loaded."""
    return npy((1, 1), "|O") + pickle.dumps([[Touch(str(target))]])


def hdf5(path: Path, kind: str) -> None:
    """Write an HDF5 file that leads into another one, or claims more than it has."""
    # Headers of the first version have no checksums.
    with h5py.File(path, "w") as file:
        HDF5[kind](file)
    if kind == "claims":
        _replace(path, struct.pack("<2Q", 16, 16), struct.pack("<2Q", 1 << 20, 1 << 20))
    if kind == "szip":
        _replace(path, struct.pack("<4I", *_SZIP), struct.pack("<4I", *_SZIP[:3], 0))


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((1 << 20, 1 << 20), "u1")
    layout[...] = h5py.VirtualSource(".", "b", (1 << 20, 1 << 20))
    file.create_virtual_dataset("a", layout)


def _szip(file: h5py.File) -> None:
    found = file.create_dataset("a", (64, 64), "u1", chunks=(64, 64), compression="szip")
    assert found.id.get_create_plist().get_filter(0)[2] == _SZIP
    found[...] = 1


def _replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def _one_chunk(file: h5py.File, shape: tuple[int, ...], data: bytes) -> None:
    found = file.create_dataset("a", shape, "u1", chunks=shape, compression="gzip")
    found.id.write_direct_chunk((0,) * len(shape), data)


_SZIP = (169, 8, 8, 64)
HDF5: dict[str, Callable[[h5py.File], object]] = {
    "link": lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/a")),
    "storage": lambda f: f.create_dataset("a", (4, 4), "u1", external=[("/etc/passwd", 0, 16)]),
    "virtual": _virtual,
    "claims": lambda f: f.create_dataset("a", data=np.zeros((16, 16), "u1")),
    "chunk": lambda f: _one_chunk(f, (1 << 15, 1 << 15, 2), zlib.compress(bytes(1000))),
    "short": lambda f: _one_chunk(f, (64, 64, 64), zlib.compress(bytes(1000))),
    "szip": _szip,
}
