"""Channels of a BossDB, read by cuboids through intern: ``bossdb://collection/experiment/channel``.

A channel consists of no files: `Description.files` and the stamps are empty, and `image` is its
address with the host. A BossDB keeps no versions, so that voxels written while they are read go
unnoticed; whether a layer is still the channel tells ``microtome verify --source``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
from intern.resource.boss.resource import ChannelResource
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp
from microtome_ingest.hosts import Hosts
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.bossdb_address import Address, parse
from microtome_ingest.sources.bossdb_facts import CUBOID, ask_facts, describe, starts
from microtome_ingest.sources.bossdb_session import Session, Sessions, account_of
from microtome_ingest.sources.parallel import run

# Bytes of one cutout: several cuboids of few bits, since each request costs a server's start.
_CUTOUT = 16 << 20
# Cutouts under way at once for one region; more would be a burst.
_AT_ONCE = 4


class BossDBSource:
    """A channel. Nothing is held but idle connections.

    Parameters
    ----------
    address : Address
        With its host.
    description : Description
    channel : ChannelResource
        intern's own.
    start : dict
        Coordinates of the first voxel in the channel's frame, by axis.
    sessions : Sessions
    """

    def __init__(
        self,
        address: Address,
        description: Description,
        channel: ChannelResource,
        start: Mapping[str, int],
        sessions: Sessions,
    ) -> None:
        self._address, self._description = address, description
        self._channel, self._start, self._sessions = channel, start, sessions
        self._meter = Meter()

    @property
    def description(self) -> Description:
        """What the server says of the channel."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels in all cutouts so far; a cutout holds what was asked for and no more."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Nothing: there are no files."""
        return {}

    def close(self) -> None:
        """Close the connections; a later read makes others."""
        self._sessions.close()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region, each cutout of it within whole cuboids of the server."""
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        parts = list(self._parts(region))
        run([partial(self._copy, part, region, result) for part in parts], _AT_ONCE)
        return result

    def _parts(self, region: Region) -> Iterator[Region]:
        """Yield the cutouts of a region, cut where cuboids are: at multiples from the frame's 0."""
        sizes = dict(CUBOID, t=1)
        cuboid = prod(CUBOID.values()) * np.dtype(self._description.dtype).itemsize
        sizes["z"] *= max(_CUTOUT // cuboid, 1)
        edges = [
            _cuts(low, high, sizes[axis], self._start.get(axis, 0))
            for axis, low, high in zip(region.axes, region.start, region.stop, strict=True)
        ]
        for box in product(*edges):
            yield Region(region.axes, tuple(a for a, _ in box), tuple(b for _, b in box))

    def _copy(self, part: Region, region: Region, result: NDArray[Any]) -> None:
        """Ask for one cutout and lay it into the result."""
        voxels = self._sessions.ask(f"cutout {part}", partial(self._cutout, part))
        if voxels.shape != part.shape or voxels.dtype != result.dtype:
            raise SourceError(self._address, f"cutout {part}: {voxels.dtype} {voxels.shape}")
        result[part.relative_to(region.start).slices] = voxels
        self._meter.add(voxels.nbytes)

    def _cutout(self, part: Region, session: Session) -> NDArray[Any]:
        ranges = {
            axis: [low + self._start.get(axis, 0), high + self._start.get(axis, 0)]
            for axis, low, high in zip(part.axes, part.start, part.stop, strict=True)
        }
        session.adapter.expected = part.size * np.dtype(self._description.dtype).itemsize
        try:
            found: NDArray[Any] = session.remote.get_cutout(
                self._channel, 0, *(ranges[axis] for axis in "xyz"), ranges.get("t"), parallel=False
            )
        finally:
            session.adapter.expected = None
        return found


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> BossDBSource:
    """Open a channel at resolution 0.

    Raises
    ------
    SourceError
        No address, no such channel, no right to read it, a host that is not allowed, or another
        scene than 0.
    StorageError
        A server that may answer later.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: a channel is one image")
    address = parse(path)
    account = account_of(address, os.environ)
    address = replace(address, protocol=account.protocol, host=account.host.lower())
    hosts = Hosts((files or Files()).options.allowed_hosts)
    sessions = Sessions(address, account, hosts)
    facts = ask_facts(address, sessions)
    start = starts(address, facts)
    return BossDBSource(address, describe(address, facts), facts.channel, start, sessions)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image of a channel."""
    source = open_image(path, files=files)
    source.close()
    found = source.description
    return (Scene(0, found.channels[0].name or "", found.axes, found.shape, found.dtype),)


def _cuts(low: int, high: int, size: int, start: int) -> list[tuple[int, int]]:
    """Return the parts of a range, cut where it crosses a multiple of `size`, counted from -start.

    >>> _cuts(3, 20, 8, 4)
    [(3, 4), (4, 12), (12, 20)]
    """
    first = (low + start) // size * size + size - start
    edges = [low, *range(first, high, size), high]
    return list(pairwise(edges))
