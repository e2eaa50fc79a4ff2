"""Pictures that are kept: made once for all who ask, refused for one alone."""

import asyncio
import pwd
import stat
import threading
from pathlib import Path

import pytest

from microtome_core.errors import InputError
from microtome_core.file_cache import FileCache
from microtome_service import picture_folder
from microtome_service.errors import TooMany
from microtome_service.kept_pictures import KeptPictures
from microtome_service.picture_folder import PictureFolder
from microtome_service.server import with_picture_folder
from microtome_service.settings import Settings


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


def drawn(folder: PictureFolder, key: str, picture: bytes) -> list[str]:
    """Ask for a picture as a service does that has just begun, and return what it drew."""
    made: list[str] = []

    async def make() -> bytes:
        made.append(key)
        return picture

    async def ask() -> None:
        assert await KeptPictures(100, folder).get(key, make) == picture

    asyncio.run(ask())
    return made


def test_what_was_drawn_before_a_restart_is_not_drawn_again(tmp_path: Path) -> None:
    """Unless it was damaged meanwhile, or is of another store."""
    place = str(tmp_path / "pictures")
    folder = PictureFolder(place, 1000, "file:///a")
    assert drawn(folder, "x", b"picture") == ["x"]
    folder.close()
    folder = PictureFolder(place, 1000, "file:///a")
    assert drawn(folder, "x", b"picture") == []
    other = PictureFolder(place, 1000, "file:///b")
    assert drawn(other, "x", b"another") == ["x"]
    other.close()
    for damage in (b"", b"abc", b"abcdpicturf"):
        folder.close()
        for file in tmp_path.glob("pictures/*.picture"):
            file.write_bytes(damage)
        folder = PictureFolder(place, 1000, "file:///a")
        assert drawn(folder, "x", b"picture") == ["x"], damage
    folder.close()


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    """The oldest pictures make room."""
    folder = PictureFolder(str(tmp_path), 1000, "file:///a")
    for number in range(40):
        assert drawn(folder, str(number), b"x" * 100)
    folder.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
    folder = PictureFolder(str(tmp_path), 1000, "file:///a")
    assert drawn(folder, "39", b"x" * 100) == []
    folder.close()


def test_nobody_waits_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not read soon is drawn."""
    folder, gate = PictureFolder(str(tmp_path), 1000, "file:///a"), threading.Event()
    monkeypatch.setattr(picture_folder, "_SECONDS", 0.05)
    monkeypatch.setattr(FileCache, "get", lambda *_: gate.wait(60))
    assert drawn(folder, "x", b"picture") == ["x"]
    gate.set()
    folder.close()


def _nobody(_: int) -> None:
    raise KeyError("no such user")


def test_what_is_kept_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Pictures of private data are among it."""
    folder = PictureFolder(str(tmp_path / "pictures"), 1000, "file:///a")
    drawn(folder, "x", b"picture")
    folder.close()
    (file,) = (tmp_path / "pictures").iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was asked for; that of the user is done without."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"picture_folder .*file/a: Not a directory"):
        PictureFolder(str(tmp_path / "file/a"), 1000, "file:///a")
    settings = Settings(root="/data")
    found = with_picture_folder(settings, {"XDG_CACHE_HOME": str(tmp_path)})
    assert found.picture_folder == str(tmp_path / "microtome/pictures")
    assert with_picture_folder(settings, {"XDG_CACHE_HOME": str(tmp_path / "file")}) is settings
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", _nobody)
    assert with_picture_folder(settings, {}) is settings
    off = Settings(root="/data", picture_folder="none")
    assert with_picture_folder(off, {}) is off
