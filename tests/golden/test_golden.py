"""Stores of every release are read by this one: voxels, records, ledgers, over HTTP, too."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.annotations import read_annotation
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from tests.golden.truth import LAYERS, METADATA, MOUSE, RECORDING, SWC, TREE, Golden
from tests.sensorium_folders import write_folder
from tests.service import conftest as service

STORES = sorted(Path(__file__).parent.glob("*.zip"))


@pytest.fixture(scope="module", params=STORES, ids=lambda path: path.stem)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack each of them in turn."""
    folder = tmp_path_factory.mktemp("golden") / "root"
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def digests(root: Path, request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """Return the SHA-256 of every level, as zarr-python read it when the store was made."""
    path = Path(__file__).parent / f"{request.node.callspec.params['root'].stem}.json"
    found: dict[str, list[str]] = json.loads(path.read_text())
    return found


def test_every_release_has_a_store() -> None:
    """One at least is there, and each is small."""
    assert STORES
    assert all(path.stat().st_size < 100_000 for path in STORES)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_voxels_are_what_they_were(
    root: Path, digests: dict[str, list[str]], layer: Golden
) -> None:
    """Level 0 by the formula that made it, coarser levels by what another reader saw then."""
    found = read_layer(Store(str(root)), LayerId.parse(layer.name))
    whole = [Region.whole(layer.axes, level.shape) for level in found.info.levels]
    voxels = [level.load(region) for level, region in zip(found.voxels, whole, strict=True)]
    np.testing.assert_array_equal(voxels[0], layer.voxels())
    assert [sha256(np.ascontiguousarray(level).tobytes()).hexdigest() for level in voxels] == (
        digests[layer.name]
    )
    assert len(voxels) == layer.levels


def test_what_is_said_of_layers_is_what_it_was(root: Path) -> None:
    """Axes, sizes, units, channels, the record and its history."""
    store = Store(str(root))
    em, cells, movie = (read_layer(store, LayerId.parse(layer.name)).info for layer in LAYERS)
    assert (em.axes, em.levels[0].scale, em.units) == ("zyx", (2.0, 0.5, 0.5), ("micrometer",) * 3)
    assert (em.kind, cells.kind, movie.kind) == ("image", "labels", "image")
    assert em.attrs["license"] == "CC-BY-4.0"
    assert em.attrs["subject"]["species"] == "Mus musculus"
    assert em.attrs["conversion_history"][-1]["tool"] == "microtome"
    assert [channel.name for channel in movie.channels] == ["green", "red"]
    assert [channel.color for channel in movie.channels] == ["00FF00", "FF0000"]
    assert movie.levels[0].scale[0] == 0.1


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_its_ledger_holds(root: Path, layer: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    """Every shard is there and whole, and one that changes is named."""
    assert main(["verify", str(root), layer.name]) == 0
    folder = next(path for path in (root / "golden").rglob("0/c") if path.parts[-3] in layer.name)
    shard = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    before = shard.read_bytes()
    shard.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        assert main(["verify", str(root), layer.name]) == 3
        assert shard.name in capsys.readouterr().out
    finally:
        shard.write_bytes(before)


def test_a_recording_comes_back_to_the_byte(root: Path, tmp_path: Path) -> None:
    """Every file of the folder of trials that it was made of."""
    write_folder(tmp_path / "mouse", MOUSE)
    words = ["export", "sensorium", str(root), RECORDING, "--out", str(tmp_path / "back")]
    assert main(words) == 0
    files = [path for path in (tmp_path / "mouse").rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        back = tmp_path / "back" / path.relative_to(tmp_path / "mouse")
        assert back.read_bytes() == path.read_bytes(), path


def test_an_annotation_is_what_it_was(root: Path) -> None:
    """The text of a skeleton, and what is said of it."""
    content, info = read_annotation(Store(str(root)), LayerId.parse(TREE))
    assert content.decode() == SWC
    assert (info.nodes, info.roots, info.unit) == (3, 1, "micrometer")


def test_it_is_served(root: Path) -> None:
    """Lists, cutouts and the store itself over HTTP."""
    store = Store(str(root))
    with service.running(service.create_app(service.settings_for(store), store)) as address:
        listed = httpx.get(f"{address}/api/datasets").json()["datasets"]
        assert [one["id"] for one in listed] == ["golden/brain", "golden/mouse", "golden/movie"]
        for layer in LAYERS:
            url = f"{address}/api/datasets/{layer.name}/cutout?format=npy"
            found = service.decode_answer(httpx.get(url))
            np.testing.assert_array_equal(found, layer.voxels())
        assert httpx.get(f"{address}/zarr/golden/brain/em/zarr.json").status_code == 200


def test_an_ingest_of_the_same_finds_it_there(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier version noted of its source and settings is understood."""
    layer = LAYERS[0]
    (tmp_path / "facts.yaml").write_text(METADATA)
    np.save(tmp_path / "in.npy", layer.voxels())
    words = ["--axes", layer.axes, "--voxel-size", layer.size, *layer.options]
    more = ["--metadata", str(tmp_path / "facts.yaml")]
    assert (
        main(["ingest", str(tmp_path / "in.npy"), str(root), "--as", layer.name, *words, *more])
        == 0
    )
    assert "nothing to do, the same is there: golden/brain/em" in capsys.readouterr().out
