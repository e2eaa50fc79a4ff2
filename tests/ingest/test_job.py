"""One ingest as a whole: what is stored, what is refused, what a failure leaves behind."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from microtome_core.errors import Conflict, InputError, NotFound, SourceError, StorageError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.array import Codec
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.describe import misfits
from microtome_ingest.files import Files, Stamp
from microtome_ingest.formats import open_source
from microtome_ingest.job import Outcome, ingest
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions, SourceOptions
from microtome_ingest.resolve import resolve
from microtome_ingest.source import Description, Source

BRAIN = LayerId("demo", "mouse", "brain")
ANSWERS = SourceOptions(axes="zyx", voxel_size={"z": 2.0, "y": 0.5, "x": 0.5})
Run = Callable[..., Outcome]


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    """Return a function that ingests an array from an NPY file."""

    def run(
        voxels: NDArray[Any],
        layer: LayerId = BRAIN,
        answers: SourceOptions = ANSWERS,
        **options: object,
    ) -> Outcome:
        path = tmp_path / "in.npy"
        np.save(path, voxels)
        with closing(open_source(str(path))) as source:
            return _ingest(source, store, layer, answers, **options)

    return run


def _ingest(
    source: Source, store: Store, layer: LayerId, answers: SourceOptions, **options: object
) -> Outcome:
    resolution = resolve(source.description, answers)
    chosen = IngestOptions(**{"grace": 0.0, **options})  # type: ignore[arg-type]
    return ingest(source, resolution, store, layer, chosen, Observer())


def noise(dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Return a small stack."""
    return np.random.default_rng(seed).integers(0, 200, (9, 70, 50)).astype(dtype)


def test_the_record_tells_where_voxels_come_from(store: Store, run: Run) -> None:
    """Source files with their hashes, what was done to them and the imaged space are kept; x comes
    first in the space, as in NWB.
    """
    record = run(noise()).layer.attrs
    assert record["source_files"][0]["name"] == "in.npy"
    assert len(record["source_files"][0]["sha256"]) == 64
    assert record["conversion_history"][0]["tool"] == "microtome"
    assert record["conversion_history"][0]["parameters"]["method"] == "mean"
    assert record["imaging_space"]["voxel_size_in_um"] == [0.5, 0.5, 2.0]
    assert record["imaging_space"]["dimensions_in_voxels"] == [50, 70, 9]
    assert record["neurodata_type"] == "VolumetricMicroscopyStaticImage"


def test_the_same_again_is_left_alone(run: Run) -> None:
    """A second run writes nothing and gives the same version."""
    first, second = run(noise()), run(noise())
    assert (first.written, second.written) == (True, False)
    assert first.layer == second.layer


@pytest.mark.parametrize("change", ["voxels", "size", "codec"])
def test_another_source_or_setting_is_a_conflict(run: Run, change: str) -> None:
    """A layer is not overwritten by accident: the message names --restart, which does it."""
    run(noise())
    voxels = noise(seed=1 if change == "voxels" else 0)
    larger = SourceOptions(axes="zyx", voxel_size={"z": 3.0, "y": 0.5, "x": 0.5})
    answers = larger if change == "size" else ANSWERS
    options: dict[str, Any] = {"codec": Codec("zstd")} if change == "codec" else {}
    with pytest.raises(Conflict, match="--restart"):
        run(voxels, answers=answers, **options)
    assert run(voxels, answers=answers, restart=True, **options).written


def test_differences_are_told_in_words_and_not_all(run: Run) -> None:
    """The first few, from which the others mostly follow, as a user would write them."""
    run(noise()[:, :8, :8])
    larger = replace(ANSWERS, voxel_size={"z": 3.0, "y": 0.5, "x": 0.5})
    told = r"shape of the source is qij 9×6×8, was qij 9×8×8; .*voxel size is 3,0.5,0.5, was 2,0.5"
    with pytest.raises(Conflict, match=told + r".*; and \d more\)"):
        run(noise("uint8")[:, :6, :8], answers=larger, codec=Codec("zstd"))


@pytest.mark.parametrize("kind", ["member", "scene", "order", "seed"])
def test_another_image_of_the_same_file_is_a_conflict(
    store: Store, tmp_path: Path, kind: str
) -> None:
    """Same bytes, same shape, other voxels: the member, the scene, the order of axes or the seed
    tells them apart.
    """
    voxels = noise()[:, :9, :9]
    np.savez(tmp_path / "two.npz", a=voxels, b=voxels[::-1])
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(voxels, photometric="minisblack")
        tif.write(voxels[::-1], photometric="minisblack")
    turned = replace(ANSWERS, axes="xyz")
    npz, tiff = str(tmp_path / "two.npz"), str(tmp_path / "two.tif")
    seeds = [f"synthetic://neurons?shape=9,9,9&seed={seed}" for seed in (1, 2)]
    first, second = {
        "member": ((f"{npz}::a", None, ANSWERS), (f"{npz}::b", None, ANSWERS)),
        "scene": ((tiff, 0, ANSWERS), (tiff, 1, ANSWERS)),
        "order": ((f"{npz}::a", None, ANSWERS), (f"{npz}::a", None, turned)),
        "seed": ((seeds[0], None, SourceOptions()), (seeds[1], None, SourceOptions())),
    }[kind]

    def run(path: str, scene: int | None, answers: SourceOptions) -> Outcome:
        with closing(open_source(path, scene)) as source:
            return _ingest(source, store, BRAIN, answers)

    assert run(*first).written
    assert not run(*first).written
    with pytest.raises(Conflict, match="another source"):
        run(*second)


@pytest.mark.timeout(60)
def test_a_failure_does_not_wait_for_the_hash_of_a_large_file(store: Store, tmp_path: Path) -> None:
    """The fingerprint of a terabyte is given up when a read fails."""
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(2**40)

    class Failing:
        """Reads nothing, and lies in a large file."""

        description = Description(
            "test", "zyx", (9, 70, 50), "uint16", (1, 70, 50), (str(tmp_path / "large"),)
        )
        stamps = Files().stamps(description.files)
        decoded = 0

        def read(self, region: Region) -> NDArray[Any]:
            raise SourceError("large", f"{region} cannot be read")

        def close(self) -> None:
            pass

    with pytest.raises(SourceError, match="cannot be read"):
        _ingest(Failing(), store, BRAIN, ANSWERS)


def test_a_source_that_fails_leaves_nothing_visible(store: Store) -> None:
    """An error on the way is raised as it is, and no layer appears; the next ingest succeeds."""
    voxels = noise()

    class Failing:
        """Reads the first planes and then no more."""

        fails = True
        description = Description("test", "zyx", voxels.shape, "uint16", (1, 70, 50), ())
        stamps: ClassVar[dict[str, Stamp]] = {}
        decoded = 0

        def read(self, region: Region) -> NDArray[Any]:
            if self.fails:
                raise SourceError("disk", "page 3 cannot be read")
            return voxels[region.slices]

        def close(self) -> None:
            pass

    source = Failing()
    with pytest.raises(SourceError, match="page 3"):
        _ingest(source, store, BRAIN, ANSWERS)
    with pytest.raises(NotFound):
        read_layer(store, BRAIN)
    source.fails = False
    assert _ingest(source, store, BRAIN, ANSWERS).written
    assert np.array_equal(read_layer(store, BRAIN).arrays[0].read().result(), voxels)


def test_labels_are_integers_and_lie_where_their_image_lies(run: Run) -> None:
    """Labels of floats, of another extent or of no image are refused by name."""
    labels = LayerId("demo", "mouse", "nuclei")
    with pytest.raises(InputError, match="labels are integers"):
        run(noise("float32"), labels, kind="labels")
    with pytest.raises(NotFound, match="demo/mouse/brain"):
        run(noise("uint32"), labels, kind="labels", labels_of="brain")
    run(noise())
    with pytest.raises(InputError, match="--kind labels"):
        run(noise(), labels, labels_of="brain")
    with pytest.raises(InputError, match="expected the image's"):
        run(noise("uint32")[:5], labels, kind="labels", labels_of="brain")
    assert run(noise("uint32"), labels, kind="labels", labels_of="brain").layer.kind == "labels"


def test_labels_have_no_channels_that_nobody_named(run: Run) -> None:
    """The number that stands in for a name is no knowledge; a name that is given is kept."""
    nuclei, cells = (LayerId("demo", "mouse", name) for name in ("nuclei", "cells"))
    assert run(noise("uint32"), nuclei, kind="labels").layer.attrs["channels"] == []
    named = replace(ANSWERS, channels=("tracing",))
    record = run(noise("uint32"), cells, named, kind="labels").layer.attrs
    assert [channel["name"] for channel in record["channels"]] == ["tracing"]


def test_labels_are_measured_in_the_unit_of_their_image(run: Run) -> None:
    """The same numbers in nanometers are another space."""
    run(noise())
    answers = replace(ANSWERS, unit="nm")
    labels = LayerId("demo", "mouse", "nuclei")
    with pytest.raises(InputError, match="nanometer"):
        run(noise("uint32"), labels, answers, kind="labels", labels_of="brain")


def test_labels_have_as_many_levels_as_their_image(run: Run) -> None:
    """Another number is refused rather than left aside."""
    run(noise(), levels=2)
    labels = LayerId("demo", "mouse", "nuclei")
    with pytest.raises(InputError, match="--levels 1"):
        run(noise("uint32"), labels, kind="labels", labels_of="brain", levels=1)


@pytest.mark.parametrize("restart", [True, False])
def test_a_layer_does_not_move(store: Store, run: Run, restart: bool) -> None:
    """Labels of a name that an image of its own has would stay hidden behind it: refused."""
    cells = LayerId("demo", "mouse", "cells")
    run(noise())
    run(noise("uint32"), cells)
    with pytest.raises(Conflict, match="another name"):
        run(noise("uint32"), cells, kind="labels", labels_of="brain", restart=restart)
    assert read_layer(store, cells).info.kind == "image"


def test_labels_whose_replacement_was_interrupted_are_made_anew(store: Store, run: Run) -> None:
    """While their metadata is gone they are not there, though their image lists them."""
    nuclei = LayerId("demo", "mouse", "nuclei")
    run(noise())
    run(noise("uint32"), nuclei, kind="labels", labels_of="brain")
    store.remove("demo/mouse/brain/labels/nuclei/zarr.json")
    with pytest.raises(NotFound, match="nuclei"):
        read_layer(store, nuclei)
    assert run(noise("uint32"), nuclei, kind="labels", labels_of="brain").written


@pytest.mark.parametrize("option", ["levels", "threads", "memory"])
def test_numbers_below_one_are_refused(option: str) -> None:
    """The message names the option and the value."""
    with pytest.raises(InputError, match=f"--{option} 0: expected at least 1"):
        IngestOptions(**{option: 0})


@pytest.mark.parametrize("level", [0, 1])
def test_a_shard_that_is_lost_is_no_empty_region(store: Store, run: Run, level: int) -> None:
    """Where a shard is missing, the layer cannot be read; it is not black there."""
    voxels = noise()
    voxels[:, :, :25] = 0
    run(voxels, levels=2)
    store.remove(f"{BRAIN}/{level}/c/0/0/0")
    voxels = read_layer(store, BRAIN).voxels[level]
    with pytest.raises(StorageError):
        voxels.load(Region.whole("zyx", voxels.array.shape))


def test_replacing_an_image_keeps_its_labels(store: Store, run: Run) -> None:
    """--restart removes the levels of the layer and nothing else; those that lie elsewhere than the
    new image does are named.
    """
    nuclei = LayerId("demo", "mouse", "nuclei")
    run(noise())
    run(noise("uint32"), nuclei, kind="labels", labels_of="brain")
    image = run(noise(seed=1), restart=True).layer
    assert np.array_equal(read_layer(store, nuclei).arrays[0].read().result(), noise("uint32"))
    assert image is not None
    assert misfits(store, image) == []
    anew = replace(ANSWERS, voxel_size={"z": 3.0, "y": 0.5, "x": 0.5})
    image = run(noise(seed=1), answers=anew, restart=True).layer
    assert image is not None
    (told,) = misfits(store, image)
    assert told == "nuclei (z: 9 voxels of 2 micrometer, not 9 voxels of 3 micrometer)"


def test_contrast_shows_what_most_voxels_are(run: Run) -> None:
    """A channel's window spans nearly all voxels but not the few outliers."""
    voxels = noise()
    voxels[0, 0, :5] = 60_000
    low, high = run(voxels).layer.channels[0].window
    assert 0 <= low < 20
    assert 150 < high < 250


def test_an_even_picture_still_has_a_window(run: Run) -> None:
    """Voxels that are all alike, or none of them a number, give a range that can be shown."""
    assert run(np.full((3, 8, 8), 7, "uint16")).layer.channels[0].window == (7.0, 8.0)
    full = run(np.full((3, 8, 8), 255, "uint8"), LayerId("demo", "mouse", "full"))
    assert full.layer.channels[0].window == (255.0, 256.0)
    blank = run(np.full((3, 8, 8), np.nan, "float32"), LayerId("demo", "mouse", "nan"))
    assert blank.layer.channels[0].window == (0.0, 1.0)


def test_a_layer_that_is_replaced_stays_until_the_new_one_is_whole(store: Store, run: Run) -> None:
    """While the new voxels are written the old layer is read as it was; a failure leaves it."""
    run(noise())
    seen = []

    class Failing:
        """Looks at the layer while it is replaced, and then fails."""

        description = Description("test", "zyx", (9, 70, 50), "uint16", (1, 70, 50), ())
        stamps: ClassVar[dict[str, Stamp]] = {}
        decoded = 0

        def read(self, region: Region) -> NDArray[Any]:
            seen.append(read_layer(store, BRAIN).arrays[0].read().result())
            raise SourceError("disk", f"{region} cannot be read")

        def close(self) -> None:
            pass

    with pytest.raises(SourceError):
        _ingest(Failing(), store, BRAIN, ANSWERS, restart=True)
    assert np.array_equal(seen[0], noise())
    assert np.array_equal(read_layer(store, BRAIN).arrays[0].read().result(), noise())


def test_replaced_voxels_are_kept_for_those_who_read_them(store: Store, run: Run) -> None:
    """For the grace, whoever has the old version open reads it, though the new one is visible."""
    run(noise())
    old = read_layer(store, BRAIN)
    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(run, noise(seed=1), restart=True, grace=1.5)
        while read_layer(store, BRAIN).info.version == old.info.version:
            assert not replacing.done()
        assert np.array_equal(old.arrays[0].read().result(), noise())
        assert not replacing.done()
    assert np.array_equal(read_layer(store, BRAIN).arrays[0].read().result(), noise(seed=1))


def test_nothing_of_a_replaced_layer_is_left(store: Store, run: Run) -> None:
    """After the grace only the last version takes room; old readers get an error, not zeros."""
    run(noise())
    old = read_layer(store, BRAIN)
    run(noise(seed=1), restart=True)
    run(noise(seed=2), restart=True)
    assert np.array_equal(read_layer(store, BRAIN).arrays[0].read().result(), noise(seed=2))
    assert store.children(str(BRAIN)) == ["v3"]
    with pytest.raises(ValueError, match=r"missing|NOT_FOUND|exist"):
        old.arrays[0].read().result()
