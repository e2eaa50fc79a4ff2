"""Sessions with a BossDB: failures told apart, tries, hosts, proxies, and tokens kept secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import InputError, SourceError, StorageError
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions
from microtome_ingest.formats import open_source
from microtome_ingest.source import Source
from tests.bossdb_server import Boss, be_nobody, boss_server
from tests.certificates import certify

LOCAL = StorageOptions(allowed_hosts=("127.0.0.1",))
NAME = "col-1/exp_1/em"
# By name: they import intern, which takes seconds.
PLACE = "microtome_ingest.sources.bossdb_"
VOXELS = np.random.default_rng(6).integers(0, 256, (35, 90, 70), "uint8")


@pytest.fixture
def boss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boss]:
    """Run an empty server, and be nobody."""
    be_nobody(tmp_path / "home", monkeypatch)
    with boss_server() as found:
        yield found


def opened(boss: Boss, voxels: NDArray[Any] = VOXELS) -> Source:
    """Return a channel of the server as a source."""
    return open_source(boss.add(NAME, voxels), None, LOCAL)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize(
    ("faults", "kind", "reason"),
    [
        ([400], SourceError, r"cutout .*HTTP 400: fault 400"),
        ([401], SourceError, r"access denied \(HTTP 401\).*MICROTOME_BOSSDB_TOKEN"),
        ([403], SourceError, r"access denied \(HTTP 403\)"),
        ([404], SourceError, r"cutout z=.* not found"),
        ([500] * 9, StorageError, "HTTP 500"),
        ([429] * 9, StorageError, "HTTP 429"),
        (["short"] * 9, StorageError, "cutout"),
        (["small"] * 9, SourceError, "holds voxels of 220499 bytes, not of 220500"),
        (["claim"] * 9, SourceError, "holds voxels of 2147483647 bytes"),
        (["html"] * 9, SourceError, "holds voxels of"),
        (["long"] * 9, SourceError, "holds more than the"),
        (["flip"] * 9, SourceError, "not what a BossDB answers"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_failures_of_cutouts(
    boss: Boss,
    monkeypatch: pytest.MonkeyPatch,
    faults: list[int | str],
    kind: type[Exception],
    reason: str,
) -> None:
    """Each failure names the channel and the cutout; what may pass is told from what will not, and
    a wrong-sized answer is never taken for voxels.
    """
    monkeypatch.setattr(f"{PLACE}session._PAUSE", 0.001)
    source = opened(boss, np.zeros((35, 90, 70), "uint8"))
    boss.faults += faults
    with pytest.raises(kind, match=reason) as caught:
        whole(source)
    assert str(caught.value).startswith(boss.address(NAME))
    boss.faults.clear()
    assert not whole(source).any()


def test_what_passes_is_tried_again(boss: Boss, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures, short and wrong answers, and silence leave the voxels as they are in the end."""
    monkeypatch.setattr(f"{PLACE}session._PAUSE", 0.001)
    monkeypatch.setattr(f"{PLACE}guard._SILENCE", 0.5)
    source = opened(boss)
    boss.faults += [503, 429, "short", "small", "hang", 504]
    np.testing.assert_array_equal(whole(source), VOXELS)
    assert boss.faults == []
    boss.only = "/collection/"
    boss.faults += [500, "hang", 502]
    np.testing.assert_array_equal(whole(opened(boss)), VOXELS)


def test_tries_end_and_wait_longer_each_time(boss: Boss, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is asked a few times, with pauses that double."""
    waited: list[float] = []
    monkeypatch.setattr(f"{PLACE}session.time.sleep", waited.append)
    source = opened(boss)
    boss.faults += ["short"] * 20
    with pytest.raises(StorageError):
        whole(source)
    assert [one for one in waited if one] == [0.5, 1, 2, 4, 8, 16]
    assert len(boss.cutouts()) == 7


def test_what_is_no_bossdb_is_refused(boss: Boss) -> None:
    """A web page is told from an answer."""
    boss.only, boss.faults = "/v1/", ["html"]
    with pytest.raises(SourceError, match="no BossDB answers there"):
        opened(boss)


def test_hosts_are_guarded(boss: Boss, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private host is refused unless named, however it is configured; a redirect is checked."""
    address = boss.add(NAME, VOXELS)
    with pytest.raises(SourceError, match=r"not public.*--allow-host 127\.0\.0\.1"):
        open_source(address)
    port = boss.host.partition(":")[2]
    for spelling in ("2130706433", "localhost", "0x7f.0.0.1"):
        with pytest.raises(SourceError, match="not public"):
            open_source(f"bossdb+http://{spelling}:{port}/{NAME}")
    monkeypatch.setenv("INTERN_PROTOCOL", "http")
    monkeypatch.setenv("INTERN_HOST", boss.host)
    monkeypatch.setenv("INTERN_TOKEN", "public")
    with pytest.raises(SourceError, match="not public"):
        open_source(f"bossdb://{NAME}")
    assert boss.asked == []
    assert open_source(f"bossdb://{NAME}", None, LOCAL).description.image == address
    path = "/v1/collection/col-1/experiment/exp_1/channel/em"
    boss.moved[path] = f"http://169.254.169.254{path}"
    with pytest.raises(SourceError, match=r"169\.254\.169\.254 is not among the allowed ones"):
        open_source(address, None, LOCAL)


def test_certificates_are_those_of_the_name(
    boss: Boss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTPS a server must prove the name by which it was asked for, whatever its address."""
    file, context = certify(tmp_path, "localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    ours = StorageOptions(allowed_hosts=("localhost", "127.0.0.1"))
    with boss_server(context) as other:
        other.add(NAME, VOXELS)
        address = f"bossdb://{other.host}/{NAME}"
        with pytest.raises(SourceError, match="certificate is not to be trusted"):
            open_source(address, None, ours)
        by_name = open_source(address.replace("127.0.0.1", "localhost"), None, ours)
        np.testing.assert_array_equal(whole(by_name), VOXELS)
    assert boss.asked == []


def test_a_proxy_sees_only_hosts_that_are_named(
    boss: Boss, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment does not lead around the check of an address."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, boss.url)
    with pytest.raises(SourceError, match="not public"):
        open_source("bossdb+http://10.0.0.1/c/e/ch")
    assert boss.asked == []
    with pytest.raises(SourceError, match="not found"):
        open_source(
            "bossdb+http://data.example/c/e/ch",
            None,
            StorageOptions(allowed_hosts=("data.example",)),
        )
    assert boss.asked[0].startswith("http://data.example/v1/")


def test_tokens_come_from_the_variable_or_from_intern(
    boss: Boss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable comes before intern's configuration, whose token goes to its own host only, and
    a file of passwords changes neither.
    """
    boss.tokens = {"t0ken%(x)s", "configured"}
    address = boss.add(NAME, VOXELS)
    (tmp_path / "home/.netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    with pytest.raises(SourceError, match="HTTP 401"):
        open_source(address, None, LOCAL)
    monkeypatch.setenv("MICROTOME_BOSSDB_TOKEN", "t0ken%(x)s")
    open_source(address, None, LOCAL)
    monkeypatch.delenv("MICROTOME_BOSSDB_TOKEN")
    config = tmp_path / "home/.intern/intern.cfg"
    config.parent.mkdir()
    words = "[Default]\nprotocol = http\nhost = {}\ntoken = configured\n"
    config.write_text(words.format(boss.host))
    open_source(address, None, LOCAL)
    assert open_source(f"bossdb://{NAME}", None, LOCAL).description.image == address
    config.write_text(words.format("elsewhere.example"))
    with pytest.raises(SourceError, match="HTTP 401"):
        open_source(address, None, LOCAL)
    assert boss.tokens_seen == {"public", "t0ken%(x)s", "configured"}


def test_tokens_are_never_shown(
    boss: Boss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither messages, also of a server that repeats it, nor the layer hold the token."""
    address = boss.add(NAME, VOXELS)
    boss.tokens = {"s3cret"}
    monkeypatch.setenv("MICROTOME_BOSSDB_TOKEN", "s3cret")
    allow = ["--allow-host", "127.0.0.1"]
    assert main(["ingest", address, str(tmp_path / "root"), "--as", "c/d/e", *allow]) == 0
    boss.only = "/v1/"
    for status in (400, 403):
        boss.faults = [status]
        assert main(["info", address, *allow]) == 2
    boss.faults = [500] * 9
    assert main(["info", address, *allow]) == 75
    for token in ("s3cret\n", "s3cret s3cret", "s3crét"):
        monkeypatch.setenv("MICROTOME_BOSSDB_TOKEN", token)
        with pytest.raises(InputError, match="without spaces"):
            open_source(address, None, LOCAL)
        assert main(["info", address, *allow]) == 2
    monkeypatch.delenv("MICROTOME_BOSSDB_TOKEN")
    config = tmp_path / "home/.intern/intern.cfg"
    config.parent.mkdir()
    config.write_text("token = s3cret\n")
    assert main(["info", address, *allow]) == 2
    told = capsys.readouterr()
    assert "cannot be read (MissingSectionHeaderError)" in told.err
    assert "fault 400, token …" in told.err
    assert "s3cr" not in told.out + told.err
    files = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert files
    assert not any(b"s3cret" in path.read_bytes() for path in files)
