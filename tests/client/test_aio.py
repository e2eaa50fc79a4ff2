"""Awaited volumes give what volumes give, and end what is cancelled."""

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest

import microtome
from microtome import aio
from microtome.errors import LayerNotFound, RegionError
from tests.client.served import Served


def test_the_same_names_give_the_same(served: Served) -> None:
    """Reads, batches, points, overviews, ids, boxes, masks and writes, many at a time."""
    blank = served.create("awaited")

    async def work() -> None:
        async with await aio.open(served.em) as volume:
            assert (volume.shape, volume.axes, len(volume)) == (served.brain.shape, "czyx", 2)
            planes = await asyncio.gather(*(volume.read(c=0, z=z) for z in range(20)))
            assert np.array_equal(np.stack(planes), served.brain[0])
            blocks = await volume.batch(np.s_[0, z] for z in range(3))
            assert np.array_equal(np.stack(blocks), served.brain[0, :3])
            assert await volume.sample([1, 2, 3], c=1) == served.brain[1, 1, 2, 3]
            assert np.array_equal(await volume.outer([1]), served.brain[[1]])
            assert np.array_equal(await volume.sel(c="channel 1"), served.brain[1])
            coarse = volume.at(level=1)
            assert np.array_equal([p async for p in coarse], await coarse.read())
            assert (await volume.thumbnail()).startswith(b"\x89PNG")
        async with await aio.open(f"{served.url}/demo/brain/cells") as cells:
            label = int((await cells.ids())[0])
            box = await cells.bbox(label)
            assert np.array_equal(await cells.mask(label), served.cells[box] == label)
        async with await aio.open(blank) as seg:
            await seg.write(np.s_[3], 7)
            assert (await seg.read(z=3) == 7).all()

    asyncio.run(work())


def test_errors_are_the_same(served: Served) -> None:
    """An absent layer, a region out of bounds, and an attribute that there is not."""

    async def work() -> None:
        with pytest.raises(LayerNotFound, match=r"there is demo/brain/em.*; .*MICROTOME_TOKEN"):
            await aio.open(served.em + "x")
        async with await aio.open(served.em) as volume:
            with pytest.raises(RegionError, match="axis 'q' is unknown: the axes are 'czyx'"):
                await volume.read(q=1)
            with pytest.raises(AttributeError, match="nonsense"):
                _ = volume.nonsense

    asyncio.run(work())


def test_a_cancelled_call_ends_its_requests(server: Any, url: str) -> None:  # noqa: ANN401
    """It is cancelled at once, its thread ends at the next bytes, and others go on."""

    async def work() -> None:
        async with await aio.open(url) as volume:
            server.drip()
            slow = asyncio.ensure_future(volume.read(0))
            await asyncio.sleep(0.2)
            begun = time.monotonic()
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            assert time.monotonic() - begun < 1
            assert np.array_equal(await volume.read(1), microtome.open(url)[1])

    asyncio.run(work())
    left = [t for t in threading.enumerate() if t.name.startswith("microtome-aio")]
    for thread in left:
        thread.join(2)
    assert not any(thread.is_alive() for thread in left)


def test_a_time_out_is_a_time_out(server: Any, url: str) -> None:  # noqa: ANN401
    """`asyncio.timeout` ends a call, too."""

    async def work() -> None:
        async with await aio.open(url) as volume:
            server.stall()
            async with asyncio.timeout(0.3):
                await volume.read(0)

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(work())
    assert time.monotonic() - begun < 5
