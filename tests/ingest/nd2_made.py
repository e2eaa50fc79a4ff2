"""ND2 files put together by hand: recordings of every kind, and ones that lack something."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x0ABECEDA
_MAP = b"ND2 FILEMAP SIGNATURE NAME 0001!"
_END = b"ND2 CHUNK MAP SIGNATURE 0000001!"
_KINDS = {bool: "bool", int: "lx_int32", float: "double", str: "CLxStringW"}


def time_loop(count: int, period: float = 0.0) -> dict[str, Any]:
    """Return a loop over time, its period in milliseconds."""
    return _loop(1, uiCount=count, dStart=0.0, dPeriod=period, dDuration=0.0)


def depth_loop(count: int, step: float = 2.0) -> dict[str, Any]:
    """Return a loop over depth."""
    return _loop(4, uiCount=count, dZStep=step, dZLow=0.0, dZHigh=step, iType=0)


def position_loop(points: Mapping[str, tuple[float, float, float]]) -> dict[str, Any]:
    """Return a loop over positions of the stage, in micrometers by name."""
    every = {
        f"p{i}": {"dPosX": x, "dPosY": y, "dPosZ": z, "dPosName": name}
        for i, (name, (x, y, z)) in enumerate(points.items())
    }
    return _loop(2, uiCount=len(points), bUseZ=True, Points=every)


def custom_loop(count: int) -> dict[str, Any]:
    """Return a loop of which nobody knows what it is over."""
    return _loop(7, uiCount=count)


def _loop(kind: int, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"eType": kind, "uLoopPars": parameters}


@dataclass
class Recording:
    """A recording.

    Parameters
    ----------
    frames : array
        n, y, x, c, s as they lie in the file.
    loops : sequence
        The outermost first.
    """

    frames: NDArray[Any]
    loops: Sequence[dict[str, Any]] = ()
    compressed: bool = False
    padding: int = 0
    times: Sequence[float] = ()
    missing: Sequence[int] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    chunks: dict[bytes, bytes] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return the file."""
        content = bytearray(struct.pack("<IIQ32s64s", MAGIC, 32, 64, _SIGNATURE, b"Ver3.0"))
        places: dict[bytes, tuple[int, int]] = {}
        for name, data in {**self._parts(), **self.chunks}.items():
            places[name] = len(content), len(data)
            content += _chunk(name, data)
        where = len(content)
        entries = b"".join(name + struct.pack("<QQ", *at) for name, at in places.items())
        content += _chunk(_MAP, entries + _END + struct.pack("<Q", where))
        return bytes(content) + _END + struct.pack("<Q", where)

    def _parts(self) -> dict[bytes, bytes]:
        count, height, width, channels, samples = self.frames.shape
        size = self.frames.itemsize
        row = width * channels * samples * size + self.padding
        attributes = {
            "uiWidth": width, "uiHeight": height, "uiWidthBytes": row,
            "uiComp": channels * samples, "uiBpcInMemory": 8 * size, "uiBpcSignificant": 8 * size,
            "uiSequenceCount": count, "eCompression": 0 if self.compressed else 2,
        }  # fmt: skip
        parts = {
            b"ImageAttributesLV!": _xml("SLxImageAttributes", {**attributes, **self.attributes}),
            b"ImageMetadataSeqLV|0!": _xml("SLxPictureMetadata", self._metadata(channels, samples)),
        }
        if self.loops:
            parts[b"ImageMetadataLV!"] = _xml("SLxExperiment", _nested(self.loops))
        if len(self.times):
            parts[b"CustomData|AcqTimesCache!"] = struct.pack(f"<{len(self.times)}d", *self.times)
        for i, frame in enumerate(self.frames):
            if i not in self.missing:
                parts[b"ImageDataSeq|%d!" % i] = bytes(8) + self._frame(frame)
        return parts

    def _frame(self, frame: NDArray[Any]) -> bytes:
        rows = b"".join(line.tobytes() + bytes(self.padding) for line in frame)
        return zlib.compress(rows) if self.compressed else rows

    def _metadata(self, channels: int, samples: int) -> dict[str, Any]:
        planes = {
            f"a{i}": {
                "uiCompCount": samples,
                "sDescription": f"dye {i}",
                "uiColor": 0x2010FF,
                "pFluorescentProbe": _probe(488.0 + i, 520.0 + i),
            }
            for i in range(channels)
        }
        found = {
            "bCalibrated": True, "dCalibration": 0.25, "dTimeAbsolute": 2456827.25,
            "dXPos": -5.0, "dYPos": 6.5, "dZPos": 7.0, "wsObjectiveName": "Plan 60x",
            "dObjectiveMag": 60.0, "dObjectiveNA": 1.2,
            "sPicturePlanes": {"uiCount": channels, "sPlaneNew": planes},
        }  # fmt: skip
        return {**found, **self.metadata}


_SIGNATURE = b"ND2 FILE SIGNATURE CHUNK NAME01!"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("<IIQ", MAGIC, 4072, len(data)) + name.ljust(4072, b"\0") + data


def _nested(loops: Sequence[dict[str, Any]]) -> dict[str, Any]:
    inner = {"ppNextLevelEx": {"n0": _nested(loops[1:])}} if len(loops) > 1 else {}
    return {**loops[0], **inner}


def _probe(excitation: float, emission: float) -> dict[str, Any]:
    def spectrum(wavelength: float) -> dict[str, Any]:
        return {"pPoint": {"Point0": {"dWavelength": wavelength, "dTValue": 1.0}}}

    return {
        "m_ExcitationSpectrum": spectrum(excitation),
        "m_EmissionSpectrum": spectrum(emission),
    }


def _xml(name: str, value: Mapping[str, Any]) -> bytes:
    return f'<?xml version="1.0"?><variant>{_element(name, value)}</variant>'.encode()


def _element(name: str, value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        return f"<{name}>{''.join(_element(k, v) for k, v in value.items())}</{name}>"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'<{name} runtype="{_KINDS[type(value)]}" value={quoteattr(text)}/>'


def noise(shape: Sequence[int], dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Return voxels of which none is 0."""
    return np.random.default_rng(seed).integers(1, 250, tuple(shape)).astype(dtype)
