"""Addresses of one version of a layer, whose answers never change and may be kept for ever."""

from typing import Annotated

from fastapi import Query

from microtome_core.store.recording import Recording
from microtome_core.wire import LayerInfo
from microtome_service.errors import Outdated

Version = Annotated[
    str | None,
    Query(
        max_length=64,
        description="Version of the layer, as its JSON and `X-Microtome-Version` say. The answer "
        "may then be kept for ever; once the voxels were replaced, it is 409. A change of the "
        "record alone is no other version.",
        examples=["0123456789abcdef"],
    ),
]
_FOR_EVER = "public, max-age=31536000, immutable"


def check_version(info: LayerInfo, version: str | None) -> None:
    """Refuse what is asked of a version that the layer no longer has.

    Raises
    ------
    Outdated
        Names both versions.
    """
    if version not in (None, info.version):
        raise Outdated(
            f"layer {info.id} has version {info.version}, not {version!r}: ask for its JSON again"
        )


def check_recording_version(recording: Recording, version: str | None) -> None:
    """Refuse what is asked of a version that the recording no longer has; raises `Outdated`."""
    if version not in (None, recording.version):
        raise Outdated(
            f"recording {recording.id} has version {recording.version}, not {version!r}: "
            "ask for its JSON again"
        )


def cache_control(version: str | None, otherwise: str = "public, no-cache") -> str:
    """Return how long an answer may be kept: for ever, or asked for again every time."""
    return otherwise if version is None else _FOR_EVER
