"""Pictures that are kept: made once for all who ask, refused for one alone."""

import asyncio

from microtome_service.errors import TooMany
from microtome_service.kept_pictures import KeptPictures


def test_who_has_no_room_left_is_refused_alone() -> None:
    """Who asked for the same picture meanwhile makes it in a room of their own."""
    kept = KeptPictures(100)

    async def refuse() -> bytes:
        await asyncio.sleep(0)
        raise TooMany("no room")

    async def make() -> bytes:
        await asyncio.sleep(0)
        return b"picture"

    async def ask() -> None:
        first, *others = await asyncio.gather(
            kept.get("a", refuse), kept.get("a", make), kept.get("a", make), return_exceptions=True
        )
        assert isinstance(first, TooMany)
        assert others == [b"picture"] * 2
        assert await kept.get("a", refuse) == b"picture"

    asyncio.run(ask())


def test_the_pictures_used_last_are_kept() -> None:
    """As many bytes as there is room for; what is larger than all of it is given, not kept."""
    kept, made = KeptPictures(10), []

    async def ask(key: str, nbytes: int) -> None:
        async def make() -> bytes:
            made.append(key)
            return b"x" * nbytes

        assert len(await kept.get(key, make)) == nbytes

    async def ask_all() -> None:
        for key, nbytes in (("a", 5), ("b", 5), ("a", 5), ("c", 5), ("a", 5), ("b", 5), ("d", 11)):
            await ask(key, nbytes)

    asyncio.run(ask_all())
    assert made == ["a", "b", "c", "b", "d"]


def test_a_failure_is_told_to_all_who_asked() -> None:
    """Storage that failed failed for everybody; the next one tries again."""
    kept = KeptPictures(100)

    async def fail() -> bytes:
        await asyncio.sleep(0)
        raise OSError("gone")

    async def make() -> bytes:
        return b"picture"

    async def ask() -> None:
        both = (kept.get("a", fail), kept.get("a", make))
        found = await asyncio.gather(*both, return_exceptions=True)
        assert [type(each) for each in found] == [OSError, OSError]
        assert await kept.get("a", make) == b"picture"

    asyncio.run(ask())
