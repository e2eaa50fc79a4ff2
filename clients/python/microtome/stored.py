"""Layers of a store that is read where it lies, without a service; needs the extra ``store``.

Planning, indexing and errors are those of volumes over HTTP: only the last step, which fills a part
of an array, is another.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Never
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from microtome.address import Address, meant
from microtome.body import Cancelled
from microtome.errors import AddressError, InputError, NotFound
from microtome.extras import library
from microtome.fetch import Source
from microtome.indexing import Cut
from microtome.order import in_order
from microtome.parts import Part
from microtome.transport import Patience, Transport
from microtome_core.errors import InputError as CoreInputError
from microtome_core.ids import Reach, reach, union
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.wire import LayerInfo

_SCHEMES = ("", "file", "s3")
_EXPECTED = "expected ROOT/collection/dataset/layer, a path or s3://bucket/…"
# Bytes that are looked through at once.
_PART = 64 << 20


def is_stored(url: object) -> bool:
    """Tell whether an address is of a store rather than of a service."""
    if not isinstance(url, str):
        return isinstance(url, os.PathLike)
    if meant(url) and not os.path.exists(url.strip().partition("/")[0]):
        return False
    return urlsplit(url.strip()).scheme in _SCHEMES


def open_stored(url: str | os.PathLike[str], patience: Patience) -> "StoredTransport":
    """Open the layer at a path, or at an address in a bucket.

    Labels may be given by their place below their image: ``…/image/labels/name``.

    Raises
    ------
    AddressError
    MissingLibrary, NotFound, StorageError
        As `StoredTransport`.
    """
    address = stored_address(url)
    try:
        return StoredTransport(address, patience)
    except NotFound:
        # A dataset may be named "labels", too.
        plain = stored_address(url, below_image=False)
        if plain == address:
            raise
        with suppress(NotFound):
            return StoredTransport(plain, patience)
        raise


def stored_address(url: str | os.PathLike[str], *, below_image: bool = True) -> Address:
    """Take the address of a layer in a store apart into its root and its name.

    Parameters
    ----------
    url : str or path
    below_image : bool
        Whether what lies in a folder named ``labels`` is taken for labels of an image.

    Raises
    ------
    AddressError
    """
    text = os.fspath(url).strip().rstrip("/")
    if text.startswith("file://"):
        text = unquote(text.removeprefix("file://"))
    parts = text.split("/")
    # collection/dataset/image/labels/name is addressed as collection/dataset/name.
    width = 5 if below_image and len(parts) > 4 and parts[-2] == "labels" else 3
    names = [*parts[-width:][:2], parts[-1]]
    try:
        layer = LayerId.parse("/".join(names))
    except CoreInputError as error:
        raise AddressError(f"{text!r:.200}: {error}; {_EXPECTED}") from error
    root = "/".join(parts[:-width])
    if urlsplit(text).scheme != "s3":
        # The same for whoever unpickles it in another folder.
        root = os.path.abspath(root or ("/" if text.startswith("/") else "."))
    return Address(root, layer)


class StoredTransport(Transport):
    """What stands in for connections: the layer, opened where it lies.

    Parameters
    ----------
    address : Address
        Its root and name.
    patience : Patience
        Of which `parallel` counts.

    Raises
    ------
    MissingLibrary
        The extra ``store`` is not installed.
    NotFound, StorageError
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        super().__init__(None, patience)
        for name in ("tensorstore", "pydantic", "fsspec"):
            library(name, "store", "a store by its path")
        place = library("microtome_core.store.location", "store", "a store")
        layer = library("microtome_core.store.layer", "store", "a store")
        options = place.StorageOptions.from_environment(os.environ, 64 << 20)
        self.address = address
        try:
            self.layer = layer.read_layer(place.Store(address.base, options), address.layer)
        except NotFound as error:
            raise NotFound(
                f"{error} in the store {address.base}; the address of a service begins with http://"
            ) from error

    def __reduce__(self) -> Any:  # noqa: ANN401 - as any object's
        return type(self), (self.address, self.patience)

    @property
    def info(self) -> LayerInfo:
        """What the store says of the layer."""
        info: LayerInfo = self.layer.info
        return info

    def get(self, url: str, *_: object, **__: object) -> Never:
        """Refuse: nothing is asked over HTTP."""
        raise InputError(f"{url}: a store is read as it is: serve it for pictures and writes")

    post = get
    send = get


@dataclass(frozen=True, slots=True)
class StoredSource(Source):
    """One level of a layer in a store; see `Source`."""

    def fill(self, out: NDArray[Any], part: Part, stop: threading.Event) -> None:
        """Read a part into its place."""
        block = self._load(part.region, stop)
        out[part.target] = part.pick(block)

    def fill_together(
        self, regions: Sequence[Region], blocks: Sequence[NDArray[Any]], stop: threading.Event
    ) -> None:
        """Read many boxes."""
        for region, block in zip(regions, blocks, strict=True):
            block[...] = self._load(region, stop)

    def fill_points(
        self,
        points: NDArray[np.int64],
        values: NDArray[Any],
        places: NDArray[np.intp],
        stop: threading.Event,
    ) -> None:
        """Read single voxels, chunk by chunk."""
        cells = points[places] // np.array(self.level.chunk)
        known, which = np.unique(cells, axis=0, return_inverse=True)
        for number in range(len(known)):
            own = places[which.reshape(-1) == number]
            low, high = points[own].min(axis=0), points[own].max(axis=0) + 1
            box = Region(self.axes, tuple(map(int, low)), tuple(map(int, high)))
            values[own] = self._load(box, stop)[tuple((points[own] - low).T)]

    def ids(self, cut: Cut) -> list[int]:
        """Return the ids in a region, sorted, without 0."""
        found = np.zeros(0, self.dtype)
        for part in in_order(cut, self.level.chunk, self.dtype.itemsize, _PART):
            found = union(found, self.read(part))
        return [int(i) for i in found.tolist() if i]

    def reach(self, number: int, cut: Cut) -> tuple[slice, ...]:
        """Return the smallest box that holds an id.

        Raises
        ------
        NotFound
        """
        found: Reach | None = None
        for part in in_order(cut, self.level.chunk, self.dtype.itemsize, _PART):
            start, stop = zip(*((r[0], r[-1] + 1) for r in part.ranges), strict=True)
            here = reach(self.read(part), Region(self.axes, start, stop), number)
            found = here if found is None else found | here
        if found is None:
            raise NotFound(f"no id {number} in the region of {self.api}, level {self.number}")
        return found.region.slices

    def _load(self, region: Region, stop: threading.Event) -> NDArray[Any]:
        if stop.is_set():
            raise Cancelled(self.api)
        layer = self.transport.layer  # type: ignore[attr-defined]  # a StoredTransport
        return np.asarray(layer.voxels[self.number].load(region))
