"""A format of sources: a row of the table, and what its module offers."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from microtome_ingest.files import Files
from microtome_ingest.glance import Claim
from microtome_ingest.source import Scene, Source


class Reader(Protocol):
    """What the module of a format offers."""

    def open_image(self, path: str, scene: int | None = None, files: Files | None = None) -> Source:
        """Open one image."""

    def scenes(self, path: str, files: Files | None = None) -> tuple[Scene, ...]:
        """List all images."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is recognised, and who reads it.

    Parameters
    ----------
    name : str
        For people.
    module : str
        Full name of a module that is a `Reader`; loaded when first needed.
    claim : callable
        Tells from a `Glance` whether a source is of this format: by content, and by name where
        content is not enough.
    endings : tuple of str
        What its names usually end with; for messages and lists.
    reader : str
        The library that decodes it.
    extra : str
        The extra of microtome that brings it.
    needs : tuple of str
        Names that the module imports and that may not be installed.
    isolated : bool
        It is read in a process of its own, since damaged files can crash the library.
    """

    name: str
    module: str
    claim: Claim
    endings: tuple[str, ...] = ()
    reader: str = "microtome"
    extra: str = "ingest"
    needs: tuple[str, ...] = ()
    isolated: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of `needs` are not installed."""
        return tuple(name for name in self.needs if find_spec(name) is None)
