"""Which images a Zarr store holds: pyramids, their labels, plates, series, and plain arrays.

Source: https://ngff.openmicroscopy.org/0.5, "multiscales", "labels", "plate", "well" and
"bioformats2raw"; each of them is read as version 0.4 keeps it, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from microtome_core.errors import SourceError
from microtome_ingest.sources.chunk_folder import Folder, joined
from microtome_ingest.sources.zarr_nodes import Node, read_node

_MOST_NODES = 20_000
_MOST_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Image:
    """An image: level 0 of a pyramid, or an array that nothing describes.

    Parameters
    ----------
    name : str
        For messages and ``::``.
    array : Node
    group : Node, optional
        Whose attributes describe the array.
    multiscale : dict, optional
    level : int
        Which dataset of `multiscale` the array is.
    """

    name: str
    array: Node
    group: Node | None = None
    multiscale: Mapping[str, Any] | None = None
    level: int = 0


class Tree:
    """The images of a store.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen = 0

    def images(self, inside: str | None) -> list[Image]:
        """Return all images, or those at a path in the store.

        Raises
        ------
        SourceError
            Nothing there, or more than can be listed.
        """
        node = self._node(joined(inside or "")) or self._wrapped(inside)
        if node is None:
            raise SourceError(self._folder.path, f"holds no Zarr {inside or 'group or array'}")
        if node.array is not None and inside and (image := self._level(node)) is not None:
            return [image]
        found = list(self._below(node, 0))
        if not found:
            raise SourceError(self._folder.path, "holds no arrays")
        return found

    def _node(self, inside: str) -> Node | None:
        self._seen += 1
        if self._seen > _MOST_NODES:
            reason = f"holds more than {_MOST_NODES} groups: name one with ::path"
            raise SourceError(self._folder.path, reason)
        return read_node(self._folder, inside)

    def _below(self, node: Node, depth: int) -> Iterator[Image]:
        if node.array is not None:
            yield Image(node.inside, node)
        elif depth > _MOST_DEPTH:
            reason = f"{node.inside}: groups lie more than {_MOST_DEPTH} deep"
            raise SourceError(self._folder.path, reason)
        elif node.ome.get("multiscales"):
            yield from self._pyramids(node)
            yield from self._labels(node, depth)
        else:
            for name in self._members(node):
                child = self._node(joined(node.inside, name))
                if child is not None:
                    yield from self._below(child, depth + 1)

    def _pyramids(self, node: Node) -> Iterator[Image]:
        listed = node.ome["multiscales"]
        for multiscale in listed:
            path = joined(node.inside, str(multiscale["datasets"][0]["path"]))
            array = self._node(path)
            if array is None or array.array is None:
                raise SourceError(self._folder.path, self._lost(node, path))
            title = str(multiscale.get("name") or "")
            name = node.inside if len(listed) == 1 else path
            yield Image(name or title, array, node, multiscale)

    def _lost(self, node: Node, path: str) -> str:
        reason = f"the array of level 0, {path}, is not there"
        names = self._folder.children(node.inside) if self._folder.listable else []
        below = [joined(node.inside, name) for name in names]
        arrays = [child for child in below if (found := self._node(child)) and found.array]
        return f"{reason}; name another with ::{arrays[0]}" if arrays else reason

    def _wrapped(self, inside: str | None) -> Node | None:
        """Return a group for the folder that a zip file or database begins with."""
        return Node("", 3, None, {}, ()) if self._folder.packed and not inside else None

    def _labels(self, node: Node, depth: int) -> Iterator[Image]:
        labels = self._node(joined(node.inside, "labels"))
        listed = labels.ome.get("labels") if labels is not None else None
        for name in listed if isinstance(listed, list) else []:
            child = self._node(joined(node.inside, "labels", str(name)))
            if child is None:
                raise SourceError(self._folder.path, f"labels {name!r} are listed and not there")
            yield from self._below(child, depth + 1)

    def _members(self, node: Node) -> list[str]:
        """Return the names of what a group is made of, in its own order where it has one."""
        ome = node.ome
        if isinstance(plate := ome.get("plate"), Mapping):
            return [str(well["path"]) for well in plate["wells"]]
        if isinstance(well := ome.get("well"), Mapping):
            return [str(image["path"]) for image in well["images"]]
        if ome.get("bioformats2raw.layout") is not None:
            return self._series(node)
        if self._folder.listable:
            return sorted(self._folder.children(node.inside), key=_natural)
        return _consolidated(self._folder, node)

    def _series(self, node: Node) -> list[str]:
        """Return the names of the images that bioformats2raw wrote: listed, or counted up."""
        listed = self._node(joined(node.inside, "OME"))
        if listed is not None and isinstance(series := listed.ome.get("series"), list):
            return [str(name) for name in series]
        names: list[str] = []
        while self._node(joined(node.inside, str(len(names)))) is not None:
            names.append(str(len(names)))
        return names

    def _level(self, node: Node) -> Image | None:
        """Return an array as a level of the pyramid in whose group it lies, if it does."""
        parts = node.inside.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            above = "/".join(parts[:depth])
            group = self._node(above)
            for multiscale in (group.ome.get("multiscales") or []) if group else []:
                paths = [joined(above, str(d["path"])) for d in multiscale["datasets"]]
                if node.inside in paths:
                    level = paths.index(node.inside)
                    return Image(node.inside, node, group, multiscale, level)
        return None


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() and len(name) < 18 else (1, 0, name)


def _consolidated(folder: Folder, node: Node) -> list[str]:
    """Return the names of what lies in a group from the metadata that was gathered in its root."""
    root = folder.document("zarr.json") or {}
    paths = ((root.get("consolidated_metadata") or {}).get("metadata") or {}).keys()
    if not paths:
        second = (folder.document(".zmetadata") or {}).get("metadata") or {}
        paths = [
            name.rpartition("/")[0] for name in second if name.endswith((".zarray", ".zgroup"))
        ]
    start = f"{node.inside}/" if node.inside else ""
    below = [path[len(start) :].split("/")[0] for path in paths if path.startswith(start)]
    if not any(below):
        return folder.children(node.inside)
    return sorted({name for name in below if name}, key=_natural)
