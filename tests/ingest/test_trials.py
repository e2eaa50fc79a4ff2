"""Trial folders: each video an image of its true length; nothing is written beside them."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from microtome_ingest.sources.trials import open_image
from tests.counted import Counted

LENGTHS = {"0": 30, "2": 25, "9": 30, "10": 17}
NEURONS = 5
PLACES = ["folder", "stored", "deflated"]


def videos() -> dict[str, NDArray[np.float32]]:
    """Return videos of 30 frames, NaN beyond their true length and in a pixel before it."""
    draw = np.random.default_rng(7)
    found = {}
    for trial, length in LENGTHS.items():
        values = draw.uniform(0, 255, (6, 8, 30)).astype("float32")
        values[..., length:] = np.nan
        values[0, 0, length - 1] = np.nan
        found[trial] = values
    return found


def contents() -> dict[str, Any]:
    """Return the files of a mouse by their path."""
    files: dict[str, Any] = {}
    for trial, values in videos().items():
        files[f"data/videos/{trial}.npy"] = values
        files[f"data/responses/{trial}.npy"] = np.ones((NEURONS, 30))
        files[f"data/behavior/{trial}.npy"] = np.ones((2, 30))
        files[f"data/pupil_center/{trial}.npy"] = np.ones((2, 30))
    tiers = np.array(["train"] * 9 + ["oracle", "live_test_main"])
    files["meta/trials/tiers.npy"] = tiers
    files["meta/neurons/unit_ids.npy"] = np.arange(NEURONS)
    files["meta/neurons/cell_motor_coordinates.npy"] = np.arange(300.0).reshape(100, 3)
    files["meta/statistics/videos/all/mean.npy"] = np.array(110.5)
    return files


def npy(values: Any) -> bytes:  # noqa: ANN401
    """Return an NPY file."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def laid(tmp_path: Path, place: str, files: Mapping[str, Any], prefix: str = "mouse1/") -> str:
    """Write files into a folder or a zip and return its path."""
    data = {n: v if isinstance(v, bytes) else npy(v) for n, v in files.items()}
    if place == "folder":
        for name, content in data.items():
            path = tmp_path / "mouse1" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return str(tmp_path / "mouse1")
    method = zipfile.ZIP_STORED if place == "stored" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(tmp_path / "mouse1.zip", "w", method) as archive:
        for name, content in data.items():
            archive.writestr(prefix + name, content)
    return str(tmp_path / "mouse1.zip")


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize("place", PLACES)
def test_each_video_is_an_image_of_its_true_length(tmp_path: Path, place: str) -> None:
    """Trials come in natural order, y x t, without the padding, and with the type they have."""
    path = laid(tmp_path, place, contents())
    found = scenes(path)
    assert [scene.name for scene in found] == [f"videos/{trial}" for trial in LENGTHS]
    assert {(s.axes, s.shape[:2], s.dtype) for s in found} == {("yxt", (6, 8), "float32")}
    assert [scene.shape[2] for scene in found] == list(LENGTHS.values())
    draw = np.random.default_rng(1)
    for scene, (trial, values) in zip(found, videos().items(), strict=True):
        source = open_source(path, scene.index)
        description = source.description
        assert (description.shape, description.image) == (scene.shape, f"videos/{trial}")
        expected = values[..., : LENGTHS[trial]]
        np.testing.assert_array_equal(whole(source), expected, strict=True)
        for _ in range(5):
            edges = [sorted(draw.choice(n + 1, 2, replace=False)) for n in scene.shape]
            low, high = (tuple(int(e[i]) for e in edges) for i in (0, 1))
            region = Region("yxt", low, high)
            np.testing.assert_array_equal(source.read(region), expected[region.slices])
        source.close()
        source.close()
        np.testing.assert_array_equal(whole(source), expected)
        padded = LENGTHS[trial] < 30
        assert ("are padding (NaN)" in "".join(description.notes)) == padded
        source.close()


@pytest.mark.parametrize("place", PLACES)
def test_what_the_folder_says_is_in_the_metadata(tmp_path: Path, place: str) -> None:
    """Tier, groups, neurons and statistics are told; the other groups are noted with shapes."""
    source = open_source(f"{laid(tmp_path, place, contents())}::videos/10")
    found = source.description
    kept = found.metadata["Sensorium"]
    assert json.loads(json.dumps(kept)) == kept
    assert (kept["trial"], kept["tier"]) == ("10", "live_test_main")
    assert kept["tiers"] == {"train": 9, "oracle": 1, "live_test_main": 1}
    assert (kept["stored_shape"], kept["true_length"]) == ([6, 8, 30], 17)
    assert kept["groups"]["responses"] == {"files": 4, "shape": [5, 30], "dtype": "float64"}
    assert kept["meta"]["neurons/unit_ids.npy"] == [0, 1, 2, 3, 4]
    large = kept["meta"]["neurons/cell_motor_coordinates.npy"]
    assert large == {"shape": [100, 3], "dtype": "float64", "min": 0.0, "max": 299.0}
    assert kept["meta"]["statistics/videos/all/mean.npy"] == 110.5
    assert found.time_step is None
    for group in ("responses", "behavior", "pupil_center"):
        assert any(note.startswith(f"data/{group} holds 4 arrays") for note in found.notes)


@pytest.mark.parametrize("place", PLACES)
def test_videos_are_chosen_and_others_refused(tmp_path: Path, place: str) -> None:
    """Of several videos one is named; the other groups are refused with words."""
    path = laid(tmp_path, place, contents())
    with pytest.raises(SourceError, match=r"holds 4 videos, .*--scene N or .*: 0: videos/0, 1"):
        open_source(path)
    with pytest.raises(SourceError, match="responses are no images"):
        open_source(f"{path}::responses/2")
    with pytest.raises(SourceError, match="no scene 4"):
        open_source(path, 4)
    with pytest.raises(SourceError, match=r"has no videos/7: its videos are 0 to 10"):
        open_source(f"{path}::videos/7")
    assert [scene.name for scene in scenes(f"{path}::videos/9")] == ["videos/9"]


def test_a_trial_becomes_a_layer(tmp_path: Path) -> None:
    """A trial of a folder that nobody may write to is ingested, and the folder is as it was."""
    path = Path(laid(tmp_path, "folder", contents()))
    before = sorted(p.relative_to(path) for p in path.rglob("*"))
    folders = [path, *(p for p in path.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    words = ["--as", "a/b/c", "--unit", "pixel", "--time-step", "0.0333"]
    try:
        assert main(["ingest", f"{path}::videos/2", str(tmp_path / "root"), *words]) == 0
    finally:
        for folder in folders:
            folder.chmod(0o755)
    array = zarr.open_array(tmp_path / "root/a/b/c/0", mode="r")
    expected = np.moveaxis(videos()["2"][..., :25], -1, 0)
    np.testing.assert_array_equal(array[...], expected)
    assert sorted(p.relative_to(path) for p in path.rglob("*")) == before


@pytest.mark.parametrize("place", PLACES)
def test_a_mouse_from_afar(tmp_path: Path, place: str) -> None:
    """A folder or zip behind a URL is read by ranges; of a stored zip only what is asked for."""
    files = contents()
    path = laid(tmp_path, place, files)
    Counted.reset()
    if place == "folder":
        urls = [Counted.put(f"lab/mouse1/{name}", npy(values)) for name, values in files.items()]
        url = urls[0].partition("/data/")[0]
    else:
        url = Counted.put("lab/mouse1.zip", Path(path).read_bytes())
    source = open_source(f"{url}::videos/2")
    np.testing.assert_array_equal(whole(source), videos()["2"][..., :25])
    assert source.description.metadata["Sensorium"]["tier"] == "train"
    source.close()


def test_uneven_groups_are_noted(tmp_path: Path) -> None:
    """A group with fewer or other files than there are videos is told; nothing is guessed."""
    files = contents()
    del files["data/behavior/9.npy"]
    files["data/responses/77.npy"] = np.ones((NEURONS, 30))
    notes = open_source(laid(tmp_path, "folder", files), 0).description.notes
    assert "data/behavior has 3 files, data/videos 4: it lacks 9" in notes
    assert "data/responses has 5 files, data/videos 4: it has besides 77" in notes


def test_the_time_step_is_only_what_a_file_says(tmp_path: Path) -> None:
    """A frame rate in config.json is believed; one that is no number is not."""
    for rate, step in ((30, 1 / 30), ("fast", None), (0, None), (True, None)):
        files = contents() | {"config.json": json.dumps({"frame_rate": rate}).encode()}
        found = open_source(laid(tmp_path, "folder", files), 0).description
        assert found.time_step == step
        assert found.metadata["Sensorium"]["config.json"] == {"frame_rate": rate}


def test_videos_alone_are_enough(tmp_path: Path) -> None:
    """Without metadata and other groups the videos are read all the same."""
    files = {f"data/videos/{trial}.npy": values for trial, values in videos().items()}
    for place in PLACES:
        source = open_source(laid(tmp_path, place, files, prefix=""), 1)
        np.testing.assert_array_equal(whole(source), videos()["2"][..., :25])
        source.close()


def test_integers_have_no_padding(tmp_path: Path) -> None:
    """Videos of bytes are whole, and keep their type."""
    values = np.arange(6 * 8 * 30, dtype="uint8").reshape(6, 8, 30)
    path = laid(tmp_path, "stored", contents() | {"data/videos/2.npy": values})
    source = open_source(path, 1)
    np.testing.assert_array_equal(whole(source), values, strict=True)


@pytest.mark.parametrize("place", PLACES)
def test_pickles_are_refused(tmp_path: Path, place: str) -> None:
    """A video of objects is an error that names it; metadata of objects is left out, and noted."""
    odd = {"data/videos/2.npy": np.array([[[{}]]]), "meta/trials/tiers.npy": np.array([{}, "a"])}
    path = laid(tmp_path, place, contents() | odd)
    with pytest.raises(SourceError, match=r"data/videos/2\.npy: holds pickled objects"):
        open_source(path, 1)
    found = open_source(path, 0).description
    assert any(n.startswith("meta/trials/tiers.npy is not read") for n in found.notes)
    assert "tiers" not in found.metadata["Sensorium"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data/videos/2.npy": np.full((6, 8, 30), np.nan, "float32")}, "nothing but NaN"),
        ({"data/videos/2.npy": np.zeros(30)}, "y and x"),
        ({"data/videos/2.npy": b"no array"}, r"2\.npy"),
        ({"data/videos/2.npy": b""}, r"2\.npy"),
        ({"data/videos/2.npy": npy(np.zeros((6, 8, 30)))[:-9]}, "truncated"),
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_damaged_videos_are_refused(
    tmp_path: Path, place: str, change: dict[str, Any], reason: str
) -> None:
    """What is no whole array of voxels is an error that names it."""
    with pytest.raises(SourceError, match=reason):
        open_source(laid(tmp_path, place, contents() | change), 1)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A file that is a link to somewhere else is not read."""
    path = Path(laid(tmp_path, "folder", contents()))
    (tmp_path / "secret.npy").write_bytes(npy(np.ones((6, 8, 30), "float32")))
    (path / "data/videos/2.npy").unlink()
    (path / "data/videos/2.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(SourceError, match="link that leads out"):
        open_source(str(path), 1)


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil.npy", "C:/evil.npy", "a/../../b.npy"])
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path: Path, name: str) -> None:
    """A zip with such a member is not trusted at all."""
    path = laid(tmp_path, "stored", contents())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(SourceError, match="leads out of it"):
        open_source(path, 0)


def patched(path: str, member: str, offset: int, value: int) -> None:
    """Write a number into a member's entry of the directory of a zip."""
    data = bytearray(Path(path).read_bytes())
    at = data.rindex(member.encode()) - 46
    struct.pack_into("<I", data, at + offset, value)
    Path(path).write_bytes(data)


@pytest.mark.parametrize("place", ["stored", "deflated"])
def test_bombs_and_false_sums_are_refused(tmp_path: Path, place: str) -> None:
    """Sizes that cannot be, and voxels that do not fit their checksum, are errors."""
    path = laid(tmp_path, place, contents())
    patched(path, "mouse1/data/videos/2.npy", 24, 1 << 31)
    with pytest.raises(SourceError, match="claims 2147483648 bytes"):
        open_source(path, 1)
    path = laid(tmp_path, place, contents())
    patched(path, "mouse1/data/videos/2.npy", 16, 12345)
    with pytest.raises(SourceError, match=r"checksum|CRC"):
        open_source(path, 1)


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("place", ["stored", "deflated"])
def test_a_zip_cut_off_is_refused(tmp_path: Path, place: str, at: float) -> None:
    """A zip without its directory is nothing."""
    path = Path(laid(tmp_path, place, contents()))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])
    with pytest.raises(SourceError, match=r"mouse1\.zip"):
        open_source(str(path), 0)
    with pytest.raises(SourceError, match=r"mouse1\.zip"):
        open_image(str(path), 0)


def test_threads_share_a_trial(tmp_path: Path) -> None:
    """Many threads that read one trial at once get what one alone gets."""
    source = open_source(laid(tmp_path, "deflated", contents()), 0)
    with ThreadPoolExecutor(8) as pool:
        for voxels in pool.map(lambda _: whole(source), range(24)):
            np.testing.assert_array_equal(voxels, videos()["0"])


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    path = Path(laid(tmp_path, "stored", contents()))
    source = open_source(str(path), 0)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SourceError, match="changed"):
        whole(source)


@pytest.mark.samples
def test_damaged_zips_are_refused(samples: Path) -> None:
    """Zip files of every kind of damage, and whole ones of other things, are errors."""
    found = sorted((samples / "zip_corrupt").rglob("*.zip"))
    assert len(found) > 20
    for path in found:
        for opener in (open_source, open_image):
            with pytest.raises(SourceError):
                opener(str(path), 0)
