"""The files that make up an Olympus image: streams of an OIB, or a folder beside an OIF.

Source of the names: Olympus FluoView, as oiffile reads them: ``OibInfo.txt`` gives the streams of
an OIB the names that the files of an OIF have.
"""

import io
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from oiffile import SettingsFile

from microtome_core.errors import SourceError
from microtome_ingest.files import Files, is_remote, name_of
from microtome_ingest.sources.compound import MAGIC, Compound, Ranges, read_ranges
from microtome_ingest.sources.damage import strict

_INFO = "OibInfo.txt"
# The most that a file of settings can reasonably hold.
_MOST_TEXT = 64 << 20

Settings = Mapping[str, Any]


class Members(Protocol):
    """Named pieces of an image. Safe for threads."""

    @property
    def path(self) -> str:
        """What the user gave."""

    @property
    def kind(self) -> str:
        """``OIB`` or ``OIF``."""

    @property
    def main(self) -> str:
        """The name of the main settings."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every member by its name, without folders."""

    def path_of(self, name: str) -> str:
        """Return the file that holds a member."""

    def read(self, name: str) -> memoryview:
        """Return a member's bytes.

        Raises
        ------
        SourceError
            Not there, cut off, or changed.
        """


class OibMembers:
    """Streams of a compound file."""

    kind = "OIB"

    def __init__(self, path: str, files: Files) -> None:
        self.path, self._files = path, files
        with strict(path, "directory"), files.open(path) as data:
            compound = Compound(files, data)
            streams = {name.rpartition("/")[2]: name for name in compound.streams}
            if _INFO not in streams:
                raise SourceError(path, f"is a compound file without {_INFO}: no OIB")
            self._ranges: dict[str, Ranges] = {}
            self.sizes: dict[str, int] = {}
            self._add(_INFO, compound.ranges(streams[_INFO]))
            info = self._info()
            for stream, name in info.items():
                if stream.startswith("Stream"):
                    self._add(name_of(str(name)), compound.ranges(streams[stream]))
            self.main = name_of(str(info[info["MainFileName"]]))

    def _add(self, name: str, ranges: Ranges) -> None:
        self._ranges[name] = ranges
        self.sizes[name] = sum(count for _, count in ranges)

    def _info(self) -> Settings:
        info: Settings = settings(self, _INFO)["OibSaveInfo"]
        if info.get("Compression", "None") != "None":
            raise SourceError(self.path, f"compression {info['Compression']} is not supported")
        return info

    def path_of(self, name: str) -> str:
        """Return the one file."""
        return self.path

    def read(self, name: str) -> memoryview:
        """Return a stream."""
        if name not in self._ranges:
            raise SourceError(self.path, f"holds no {name}")
        with self._files.open(self.path) as data:
            return read_ranges(self._files, data, self._ranges[name])


class OifMembers:
    """A main file, and the folder of the same name with ``.files`` after it."""

    kind = "OIF"

    def __init__(self, path: str, files: Files) -> None:
        self.path, self._files = path, files
        self.main = name_of(path)
        self._paths, self.sizes = {self.main: path}, {self.main: files.stamp(path).size}
        folder = self._folder()
        found = files.folder(folder)
        self._paths = {name_of(one): one for one in found}
        self.sizes |= {name_of(one): stamp.size for one, stamp in found.items()}
        if not is_remote(path):
            _check_links(self._paths, folder)
        self._paths[self.main] = path

    def _folder(self) -> str:
        """Return the folder beside the main file: of its name, or of the one that it had."""
        saved = settings(self, self.main).get("ProfileSaveInfo", {})
        first = str(saved.get("PtyFileNameS", "")).replace("\\", "/").split("/")
        names = [f"{self.main}.files", *first[-2:-1]]
        beside = self.path.removesuffix(self.main)
        for name in names:
            if name not in ("", ".", "..") and self._files.kind(beside + name) == "folder":
                return beside + name
        raise SourceError(self.path, f"belongs to a folder {names[0]}, which is not beside it")

    def path_of(self, name: str) -> str:
        """Return the file of a member."""
        return self._paths.get(name, self.path)

    def read(self, name: str) -> memoryview:
        """Return a file's bytes."""
        if name not in self._paths:
            raise SourceError(self.path, f"{self.main}.files holds no {name}")
        with ExitStack() as stack:
            data = stack.enter_context(self._files.open(self._paths[name]))
            return data.read(0, data.stamp.size)


def _check_links(paths: Mapping[str, str], folder: str) -> None:
    """Refuse links that lead out of the folder."""
    inside = os.path.realpath(folder)
    for path in paths.values():
        if os.path.dirname(os.path.realpath(path)) != inside:
            raise SourceError(path, "is a link that leads out of its folder: refused")


def members(path: str, files: Files) -> Members:
    """Return the members of an OIB or an OIF file, told by its content."""
    with files.open(path) as data:
        head = bytes(data.read(0, min(len(MAGIC), data.stamp.size)))
    return OibMembers(path, files) if head == MAGIC else OifMembers(path, files)


def settings(source: Members, name: str) -> Settings:
    """Return a member of sections and keys.

    Raises
    ------
    SourceError
        It is no such file.
    """
    if source.sizes.get(name, 0) > _MOST_TEXT:
        raise SourceError(source.path_of(name), f"{name}: {source.sizes[name]} bytes of settings")
    with strict(source.path_of(name), name):
        return SettingsFile(io.BytesIO(bytes(source.read(name))), name)
