"""MTNeuro from end to end: channels of a BossDB, ingested, served, and read as its tasks."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from microtome import mtneuro
from microtome.volume import Volume
from microtome_cli.main import main
from microtome_core.region import Region
from microtome_core.store.location import Store
from tests import prasad
from tests.bossdb_server import be_nobody, boss_server
from tests.service.conftest import create_app, running, settings_for

# Of cortex what the validation split needs, and a plane of its neighbours.
WINDOW = Region("zyx", (379, 900, 4600), (410, 1156, 4856))
CHANNELS = {
    "image": "prasad/prasad2020/image",
    "roi_labels": "prasad/prasad_analysis/roi_labels",
    "pixel_labels": "prasad/prasad_analysis/pixel_labels",
}
MICRONS = {f"{axis}_voxel_size": 1.17 for axis in "xyz"} | {"voxel_unit": "micrometers"}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Volume]]:
    """Ingest three channels by the command that the notebook shows, and serve them."""
    folder = tmp_path_factory.mktemp("mtneuro")
    root = str(folder / "root")
    with pytest.MonkeyPatch.context() as patch, boss_server() as boss:
        be_nobody(folder / "home", patch)
        patch.setenv("MICROTOME_ALLOWED_HOSTS", "127.0.0.1")
        for name, channel in CHANNELS.items():
            voxels = prasad.Channel(name, WINDOW)
            start = WINDOW.start[::-1]
            address = boss.add(channel, voxels, start=start, **MICRONS)  # type: ignore[arg-type]
            kind = [] if name == "image" else ["--kind", "labels"]
            words = ["ingest", address, root, "--as", f"prasad/prasad2020/{name}", *kind]
            assert main(words) == 0
    with serving(root) as url:
        yield mtneuro.volumes(url)


@contextmanager
def serving(root: str) -> Iterator[str]:
    """Serve a store on a socket."""
    store = Store(root)
    with running(create_app(settings_for(store), store)) as url:
        yield url


ORIGIN = dict(zip("zyx", WINDOW.start, strict=True))


def test_layers_are_the_channels(volumes: dict[str, Volume]) -> None:
    """Each with BossDB's type and voxel size, on one grid."""
    assert {name: volume.dtype.name for name, volume in volumes.items()} == {
        "image": "uint8",
        "roi": "uint64",
        "pixels": "uint64",
    }
    assert {volume.shape for volume in volumes.values()} == {WINDOW.shape}
    assert volumes["image"].voxel_size == {"z": 1.17, "y": 1.17, "x": 1.17}
    assert volumes["pixels"].kind == "labels"


def test_tiles_of_task_2_are_those_of_the_channels(volumes: dict[str, Volume]) -> None:
    """Image and classes of each tile, at the published place, by two requests a batch."""
    crops = mtneuro.task2(volumes, "validation", regions=["CTX"], origin=ORIGIN)
    found = [sample for batch in crops.batches(10) for sample in zip(
        batch["image"], batch["pixels"], strict=True)]  # fmt: skip
    assert len(found) == 29
    for i, (image, pixels) in enumerate(found):
        place = (slice(380 + i, 381 + i), slice(900, 1156), slice(4600, 4856))
        np.testing.assert_array_equal(image, prasad.Channel("image")[place])
        np.testing.assert_array_equal(pixels, prasad.Channel("pixel_labels")[place])


def test_the_region_of_a_tile_is_that_of_its_labels(volumes: dict[str, Volume]) -> None:
    """Its class by its place is the mode of the labels there, which is how the authors take it."""
    crops = mtneuro.task1(volumes, "validation", regions=["CTX"], origin=ORIGIN, depth=8)
    assert [sample["region"] for sample in crops] == [0, 0, 0]
    for i in range(len(crops)):
        roi = volumes["roi"][crops.boxes.box(i).slices]
        assert roi.shape == (8, 256, 256)
        assert mtneuro.region_of(roi) == 0


@pytest.mark.slow
def test_the_whole_geometry_is_read_from_a_service(tmp_path: Path) -> None:
    """All splits of all regions: classes and pixels of some tiles of each, first and last."""
    prasad.write(tmp_path / "root")
    with serving(str(tmp_path / "root")) as url:
        volumes = mtneuro.volumes(url)
        for split, count in (("train", 1076), ("validation", 116), ("test", 200)):
            crops = mtneuro.task2(volumes, split)
            assert len(crops) == count
            numbers = [n for r in range(4) for n in (r * count // 4, (r + 1) * count // 4 - 1)]
            samples = crops.read(numbers)
            assert Counter(s["region"] for s in samples) == dict.fromkeys(range(4), 2)
            for number, sample in zip(numbers, samples, strict=True):
                box = crops.boxes.box(number)
                assert mtneuro.region_of(volumes["roi"][box.slices]) == sample["region"]
                expected = prasad.Channel("pixel_labels")[box.slices]
                np.testing.assert_array_equal(sample["pixels"], expected)
