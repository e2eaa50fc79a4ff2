"""One ingest as a whole: what is stored, what is refused, what a failure leaves behind."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import Conflict, InputError, NotFound, SourceError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.array import Codec
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.formats import open_source
from microtome_ingest.job import IngestOptions, Observer, Outcome, ingest
from microtome_ingest.options import SourceOptions
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
    chosen = IngestOptions(**options)  # type: ignore[arg-type]
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


def test_a_source_that_fails_leaves_nothing_visible(store: Store) -> None:
    """An error on the way is raised as it is, and no layer appears; the next ingest succeeds."""
    voxels = noise()

    class Failing:
        """Reads the first planes and then no more."""

        fails = True
        description = Description("test", "zyx", voxels.shape, "uint16", (1, 70, 50), ())

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


def test_replacing_an_image_keeps_its_labels(store: Store, run: Run) -> None:
    """--restart removes the levels of the layer and nothing else."""
    nuclei = LayerId("demo", "mouse", "nuclei")
    run(noise())
    run(noise("uint32"), nuclei, kind="labels", labels_of="brain")
    run(noise(seed=1), restart=True)
    assert np.array_equal(read_layer(store, nuclei).arrays[0].read().result(), noise("uint32"))


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
    blank = run(np.full((3, 8, 8), np.nan, "float32"), LayerId("demo", "mouse", "nan"))
    assert blank.layer.channels[0].window == (0.0, 1.0)
