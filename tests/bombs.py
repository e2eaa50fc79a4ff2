"""Small files that claim, or expand to, far more than they are."""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
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
    data = npz({"0000000.npy": npy((64, 64), data=bytes(8192))})
    at = data.index(b"PK\x01\x02")
    record, end = data[at : data.index(b"PK\x05\x06")], data[data.index(b"PK\x05\x06") :]
    records = b"".join(record.replace(b"0000000", b"%07d" % i) for i in range(count))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(records), at, 0)
    assert len(tail) == len(end)
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
    with h5py.File(path, "w", libver="latest") as file:
        if kind == "link":
            file["a"] = h5py.ExternalLink("/etc/passwd", "/a")
        elif kind == "storage":
            file.create_dataset("a", (4, 4), "u1", external=[("/etc/passwd", 0, 16)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((1 << 20, 1 << 20), "u1")
            layout[...] = h5py.VirtualSource(".", "b", (1 << 20, 1 << 20))
            file.create_virtual_dataset("a", layout)
        elif kind == "claims":
            file["a"] = np.zeros((16, 16), "u1")
        elif kind == "chunk":
            _one_chunk(file, (1 << 15, 1 << 15, 2), zlib.compress(bytes(1000)))
        elif kind == "inflates":
            _one_chunk(file, (1 << 15, 1 << 15, 2), zlib.compress(bytes(1 << 28)))
    if kind == "claims":
        data = path.read_bytes()
        old = struct.pack("<2Q", 16, 16)
        assert old in data
        path.write_bytes(data.replace(old, struct.pack("<2Q", 1 << 20, 1 << 20)))


def _one_chunk(file: h5py.File, shape: tuple[int, ...], data: bytes) -> None:
    found = file.create_dataset("a", shape, "u1", chunks=shape, compression="gzip")
    found.id.write_direct_chunk((0,) * len(shape), data)
