"""Compressed voxels are decoded once, onto the disk, and never beyond what was claimed."""

import bz2
import gzip
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from microtome_core.errors import SourceError, StorageError
from microtome_ingest.files import Files
from microtome_ingest.sources.inflated import Inflated, check_ratio, decoded
from tests.counted import Counted

WORDS = bytes(range(256)) * 50
PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress}


def inflated(
    path: str, encoding: str = "gzip", at: int = 0, count: int = len(WORDS), **options: int | None
) -> Inflated:
    """Return what a file holds from `at` on."""
    data = Files().open(path)
    opened = partial(decoded, data, encoding, at)
    return Inflated(data, opened, count, options.get("skip", 0), options.get("most_behind"))


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("place", ["local", "remote"])
def test_streams_begin_anywhere_and_may_be_many(tmp_path: Path, encoding: str, place: str) -> None:
    """Streams one after the other are one, wherever in a file they begin."""
    pack = PACKERS[encoding]
    content = b"header" + pack(WORDS[:1000]) + pack(WORDS[1000:])
    (tmp_path / "a").write_bytes(content)
    Counted.reset()
    path = str(tmp_path / "a") if place == "local" else Counted.put("a", content)
    found = inflated(path, encoding, 6)
    assert bytes(found.read(990, 20)) == WORDS[990:1010]
    found.close()
    assert bytes(found.read(0, len(WORDS))) == WORDS


def test_bytes_before_are_skipped_or_whatever_they_are(tmp_path: Path) -> None:
    """Without a number of bytes before, the last ones are taken."""
    (tmp_path / "a").write_bytes(gzip.compress(b"before" + WORDS))
    for skip in (6, None):
        assert bytes(inflated(str(tmp_path / "a"), skip=skip).read(0, 9)) == WORDS[:9]


@pytest.mark.parametrize(
    ("count", "behind", "reason"),
    [
        (len(WORDS) + 1, None, f"ends after {len(WORDS)} of {len(WORDS) + 1} bytes: truncated"),
        (len(WORDS) - 3, 2, f"more than the {len(WORDS) - 3} bytes that are claimed"),
    ],
)
def test_too_few_and_too_many_bytes_are_refused(
    tmp_path: Path, count: int, behind: int | None, reason: str
) -> None:
    """A stream of another length than was claimed gives nothing."""
    (tmp_path / "a").write_bytes(gzip.compress(WORDS))
    with pytest.raises(SourceError, match=reason):
        inflated(str(tmp_path / "a"), count=count, most_behind=behind).read(0, 1)


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into the folder for temporary files is refused."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("microtome_ingest.sources.inflated.disk_usage", lambda _: usage(100))
    (tmp_path / "a").write_bytes(gzip.compress(WORDS))
    with pytest.raises(SourceError, match=f"inflates to {len(WORDS)} bytes, but only 100 are free"):
        inflated(str(tmp_path / "a")).read(0, 1)


def test_a_claim_beyond_what_can_be_packed_is_refused() -> None:
    """No encoding makes more of a byte than its limit."""
    check_ratio("a", 1040, 1, 1040)
    with pytest.raises(SourceError, match="claims 1041 bytes in 1 compressed ones"):
        check_ratio("a", 1041, 1, 1040)


def test_a_service_that_fails_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may succeed later is not reported as a broken stream, and a later read succeeds."""
    monkeypatch.setattr("microtome_ingest.remote._PAUSE", 0.001)
    Counted.reset()
    # Incompressible, so that not all of it is read ahead.
    noise = bytes(np.random.default_rng(2).integers(0, 256, 9 << 20, "uint8"))
    found = inflated(Counted.put("a", gzip.compress(noise, 1)), count=len(noise))

    def fail(path: str, start: int, stop: int) -> bytes | None:
        if start > 1 << 20:
            raise ConnectionError("gone")
        return None

    Counted.fault = staticmethod(fail)
    with pytest.raises(StorageError):
        found.read(0, 1)
    Counted.fault = None
    assert found.read(0, len(noise)) == noise
