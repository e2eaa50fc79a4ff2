"""Volumes that are computed, addressed by ``synthetic://``, behind the interface of files."""

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.source import Scene
from microtome_ingest.sources.synthetic import SyntheticSource, open_synthetic


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image of the volume."""
    found = open_synthetic(path).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> SyntheticSource:
    """Open a volume.

    Raises
    ------
    InputError
        An address that is not understood, or a scene other than 0.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: a computed volume is one image")
    return open_synthetic(path)
