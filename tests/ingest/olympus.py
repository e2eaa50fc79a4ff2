"""OIF folders and OIB files, and compound files, written as their descriptions say."""

import io
import struct
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

END, FREE, FAT, DIFAT, NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFC, 0xFFFFFFFF
NAMES = {"x": "um", "y": "um", "c": "Ch", "z": "nm", "t": "ms", "a": "deg", "l": "nm", "p": "mm"}
CODES = "xycztalp"
DYES = ("Alexa Fluor 488", "None", "")


def text(sections: Mapping[str, Mapping[str, object]], *, bom: bool = True) -> bytes:
    """Return a file of settings."""
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [
            f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
            for key, value in values.items()
        ]
    joined = "\r\n".join([*lines, ""])
    return joined.encode("utf-16") if bom else joined.encode()


def table(color: tuple[int, int, int], gamma: float = 1.0) -> bytes:
    """Return a lookup table from black to a colour: blue, green, red, nothing."""
    ramp = np.linspace(0, 1, 65536)[:, None] ** gamma
    rows = np.zeros((65536, 4), "uint8")
    rows[:, :3] = np.round(ramp * np.array(color[::-1]))
    head = text({"FileInformation": {"Name": "LUT"}}) + "[ColorLUTData]\r\n".encode("utf-16-le")
    return head + rows.tobytes()


def settings(
    array: NDArray[Any], axes: str, main: Mapping[str, Mapping[str, object]] | None = None
) -> dict[str, dict[str, object]]:
    """Return the main settings of an image of those axes, the fastest one last."""
    extents = dict(zip(axes, array.shape, strict=True))
    found: dict[str, dict[str, object]] = {
        "Axis Parameter Common": {"AxisCount": len(axes), "AxisOrder": axes[::-1].upper()},
        "Reference Image Parameter": {
            "ImageDepth": array.dtype.itemsize,
            "ValidBitCounts": 12,
            "WidthConvertValue": 0.5,
            "WidthUnit": "um",
            "HeightConvertValue": 0.25,
            "HeightUnit": NAMES[axes[-2]],
        },
        "ProfileSaveInfo": {"PtyFileNameS": "a.oif.files\\s_C001.pty", "Version": "2.0"},
        "File Info": {"DataName": "a.oif", "UserComment": " a comment"},
        "Version Info": {"SystemName": "FLUOVIEW FV1000", "SystemVersion": "2.1"},
        "Acquisition Parameters Common": {
            "Acquisition Device": "FV1000",
            "ImageCaputreDate": "2012-07-26 15:13:35",
            "ImageCaputreDate+MilliSec": 76,
        },
        "Laser 1 Parameters": {
            "Laser Enable": 1, "LaserWavelength": 488, "LaserTransmissivity": 3
        },
    }  # fmt: skip
    for i, axis in enumerate(CODES):
        # A size of 0 means 1.
        count = extents.get(axis, 0)
        found[f"Axis {i} Parameters Common"] = {
            "AxisCode": axis.upper(), "MaxSize": count if count > 1 else 0, "StartPosition": 100.0,
            "EndPosition": 100.0 - 700.0 * max(count - 1, 0), "UnitName": NAMES[axis],
        }  # fmt: skip
    for i in range(extents.get("c", 1)):
        found[f"Channel {i + 1} Parameters"] = {
            "CH Name": f"CH{i + 1}", "DyeName": DYES[i % 3], "ExcitationWavelength": 488,
            "EmissionWavelength": 0 if i else 520, "LightType": "Fluorescence",
            "BF Name": "BA505-525",
        }  # fmt: skip
    for name, values in (main or {}).items():
        found[name] = {**found.get(name, {}), **values}
    return found


def members(
    array: NDArray[Any],
    axes: str,
    main: Mapping[str, Mapping[str, object]] | None = None,
    times: Mapping[int, float] | None = None,
) -> dict[str, bytes]:
    """Return every member of an image by its name, without the main settings.

    Planes are of the two last axes; c is always counted.
    """
    if "c" not in axes:
        array, axes = array[..., None, :, :], f"{axes[:-2]}c{axes[-2:]}"
    counted, found = axes[:-2], {}
    order = sorted(counted, key="clzt".find)
    for at in product(*(range(n) for n in array.shape[:-2])):
        numbers = dict(zip(counted, at, strict=True))
        stem = "s_" + "".join(f"{axis.upper()}{numbers[axis] + 1:03}" for axis in order)
        found[f"{stem}.tif"] = tiff(array[at])
        t = numbers.get("t", 0)
        found[f"{stem}.pty"] = text(
            {
                "Axis 4 Parameters": {
                    "AbsPositionUnitName": "ms",
                    "AbsPositionValue": (times or {}).get(t, 500.0 * (t + 1)),
                },
                "Acquisition Parameters Common": {
                    "ObjectiveLens Name": "UPLFLN 40X", "ObjectiveLens NAValue": 0.75,
                    "ObjectiveLens WDValue": 9999.0, "Magnification": 40.0,
                },
                "LUT Parameter": {"LUTFileName": f"LUT{numbers['c'] + 1}"},
            }
        )  # fmt: skip
    for i, color in enumerate([(0, 255, 0), (255, 0, 0)]):
        found[f"s_LUT{i + 1}.lut"] = table(color)
    # Neither is a plane of the image.
    found["s_Thumb.bmp"] = b"BM"
    found["s_C001-R001.tif"] = tiff(np.zeros((2, 2), "uint16"))
    return found


def tiff(plane: NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401
    """Return a TIFF of one page."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, plane, metadata=None, photometric="minisblack", **options)
    return stream.getvalue()


def oif(
    folder: Path,
    array: NDArray[Any],
    axes: str,
    main: Mapping[str, Mapping[str, object]] | None = None,
    times: Mapping[int, float] | None = None,
) -> str:
    """Write an OIF and its folder, and return its path."""
    inside = folder / "a.oif.files"
    inside.mkdir(exist_ok=True)
    for name, content in members(array, axes, main, times).items():
        (inside / name).write_bytes(content)
    (folder / "a.oif").write_bytes(text(settings(array, axes, main)))
    return str(folder / "a.oif")


def oib(
    array: NDArray[Any],
    axes: str,
    main: Mapping[str, Mapping[str, object]] | None = None,
    **options: Any,  # noqa: ANN401
) -> bytes:
    """Return the same as an OIB."""
    found = members(array, axes, main)
    info: dict[str, object] = {
        "Version": "2.0", "Compression": "None", "MainFileName": "Stream00000",
        "Stream00000": "a.oif", "Storage00001": "a.oif.files",
    }  # fmt: skip
    streams = {"Stream00000": text(settings(array, axes, main))}
    for i, (name, content) in enumerate(found.items(), 1):
        info[f"Stream{i:05}"] = f"Storage00001/{name}"
        streams[f"Storage00001/Stream{i:05}"] = content
    streams["OibInfo.txt"] = text({"OibSaveInfo": info})
    return compound(streams, **options)


def compound(streams: Mapping[str, bytes], seed: int = 0, version: int = 3) -> bytes:
    """Return a compound file, whose sectors lie in no order; with one storage at most.

    Source of the format: Microsoft, [MS-CFB].
    """
    return _Compound(seed, version).file(streams)


class _Compound:
    """Lays streams into sectors."""

    def __init__(self, seed: int, version: int) -> None:
        self.version, self.size = version, {3: 512, 4: 4096}[version]
        self.random = np.random.default_rng(seed)
        self.sectors: dict[int, bytes] = {}
        self.table: dict[int, int] = {}
        self.free: list[int] = []

    def file(self, streams: Mapping[str, bytes]) -> bytes:
        total = sum(len(content) // self.size + 2 for content in streams.values()) + len(streams)
        self.free = self.random.permutation(total + 16).tolist()
        mini, minitable = b"", list[int]()
        places: dict[str, int] = {}
        for path, content in streams.items():
            if len(content) >= 4096:
                places[path] = self.put(content)
                continue
            count = -(-len(content) // 64)
            start = len(minitable)
            places[path] = start if count else END
            minitable += [*range(start + 1, start + count), END] if count else []
            mini += content.ljust(count * 64, b"\0")
        root = self.put(mini) if mini else END
        minifat = self.put(struct.pack(f"<{len(minitable)}I", *minitable)) if minitable else END
        directory = self.put(self.directory(streams, places, root, len(mini)))
        return self.finished(directory, minifat, -(-4 * len(minitable) // self.size))

    def put(self, content: bytes) -> int:
        """Lay a stream into sectors and return the first."""
        count = max(1, -(-len(content) // self.size))
        numbers = [self.free.pop() for _ in range(count)]
        for i, number in enumerate(numbers):
            part = content[i * self.size : (i + 1) * self.size]
            self.sectors[number] = part.ljust(self.size, b"\xff" if not part else b"\0")
            self.table[number] = numbers[i + 1] if i + 1 < count else END
        return numbers[0]

    def directory(
        self, streams: Mapping[str, bytes], places: Mapping[str, int], root: int, mini: int
    ) -> bytes:
        """Return entries, siblings in one long branch."""
        top = [path for path in streams if "/" not in path]
        below = [path for path in streams if "/" in path]
        entries = [self.entry("Root Entry", 5, child=1, start=root, size=mini)]
        names = [*top, *([below[0].partition("/")[0]] if below else [])]
        for i, name in enumerate(names, 1):
            right = i + 1 if i < len(names) else NONE
            if name in streams:
                size, start = len(streams[name]), places[name]
                entries.append(self.entry(name, 2, right=right, start=start, size=size))
            else:
                entries.append(self.entry(name, 1, right=right, child=len(names) + 1))
        for i, path in enumerate(below, len(names) + 1):
            left = i + 1 if i < len(names) + len(below) else NONE
            name, size = path.partition("/")[2], len(streams[path])
            entries.append(self.entry(name, 2, left=left, start=places[path], size=size))
        return b"".join(entries)

    @staticmethod
    def entry(
        name: str,
        kind: int,
        left: int = NONE,
        right: int = NONE,
        child: int = NONE,
        start: int = 0,
        size: int = 0,
    ) -> bytes:
        raw = name.encode("utf-16-le")
        head = raw.ljust(64, b"\0") + struct.pack(
            "<HBBIII", len(raw) + 2, kind, 1, left, right, child
        )
        return head + bytes(36) + struct.pack("<IQ", start, size)

    def finished(self, directory: int, minifat: int, minis: int) -> bytes:
        """Return header and sectors, the tables of sectors and their list at the end."""
        each, first = self.size // 4, max(self.sectors) + 1
        count = more = 0
        while count * each < first + count + more:
            count += 1
            more = -(-max(0, count - 109) // (each - 1))
        table = [self.table.get(i, FREE) for i in range(count * each)]
        tables, lists = range(first, first + count), range(first + count, first + count + more)
        for i in tables:
            table[i] = FAT
        for i in lists:
            table[i] = DIFAT
        raw = struct.pack(f"<{len(table)}I", *table)
        for i, number in enumerate(tables):
            self.sectors[number] = raw[i * self.size : (i + 1) * self.size]
        for i, number in enumerate(lists):
            part = [*tables[109 + i * (each - 1) :][: each - 1]]
            part += [FREE] * (each - 1 - len(part)) + [number + 1 if i + 1 < more else END]
            self.sectors[number] = struct.pack(f"<{each}I", *part)
        shift = {3: 9, 4: 12}[self.version]
        head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
        head += struct.pack("<HHHHH6x", 0x3E, self.version, 0xFFFE, shift, 6)
        head += struct.pack("<7I", 0, count, directory, 0, 4096, minifat, minis)
        head += struct.pack("<II", lists[0] if more else END, more)
        head += struct.pack("<109I", *[*tables, *[FREE] * 109][:109])
        numbers = range(first + count + more)
        return head.ljust(self.size, b"\0") + b"".join(
            self.sectors.get(i, bytes(self.size)) for i in numbers
        )
