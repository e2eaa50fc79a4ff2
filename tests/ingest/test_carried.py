"""What people said of a layer stays when its voxels are replaced."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.store.record_changes import change_dataset, change_record, history
from microtome_ingest.formats import open_source
from microtome_ingest.job import Outcome, ingest
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions, SourceOptions
from microtome_ingest.resolve import resolve

BRAIN = LayerId("demo", "mouse", "brain")
ME = {"who": "jane"}
Make = Callable[..., Outcome]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A folder."""
    return Store(f"file://{tmp_path}/root")


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Make:
    """Return a function that ingests two channels of noise."""

    def make(
        seed: int,
        channels: str = "GFP,RFP",
        reading: Callable[[], object] = bool,
        **options: object,
    ) -> Outcome:
        voxels = np.random.default_rng(seed).integers(0, 200, (2, 8, 8, 8)).astype("uint16")
        np.save(tmp_path / "in.npy", voxels)
        answers = SourceOptions(
            axes="czyx",
            voxel_size={"z": 2.0, "y": 0.5, "x": 0.5},
            channels=tuple(channels.split(",")),
        )
        chosen = IngestOptions(grace=0.0, **options)  # type: ignore[arg-type]
        with closing(open_source(str(tmp_path / "in.npy"))) as source:
            resolution = resolve(source.description, answers)
            watched = _Watched(source, reading)
            return ingest(watched, resolution, store, BRAIN, chosen, Observer())  # type: ignore[arg-type]

    return make


class _Watched:
    """A source of which each reading is told."""

    def __init__(self, source: Any, reading: Callable[[], object]) -> None:  # noqa: ANN401
        self._source, self._reading = source, reading

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._source, name)

    def read(self, region: Region) -> NDArray[Any]:
        self._reading()
        voxels: NDArray[Any] = self._source.read(region)
        return voxels


def _record(store: Store) -> dict[str, Any]:
    return dict(read_layer(store, BRAIN).info.attrs)


def test_what_was_said_of_a_layer_is_said_of_the_one_that_replaces_it(
    store: Store, make: Make
) -> None:
    """By its first ingest, by its dataset and by changes; what is given now comes last."""
    make(0, metadata={"lab": "A", "institution": "Cajal", "notes": "first"})
    change_dataset(store, BRAIN.parent, {"protocol": "cleared"}, ME)
    change_record(store, BRAIN, {"license": "CC-BY-4.0", "lab": "B"}, ME)
    change_record(store, BRAIN, {"institution": None}, ME)
    told = history(store, BRAIN)
    make(1, restart=True, metadata={"notes": "second"})
    change_record(store, BRAIN, {"notes": "third"}, ME)
    last = make(2, restart=True).layer
    assert last is not None
    record = _record(store)
    said = [record.get(key) for key in ("license", "lab", "protocol", "notes", "institution")]
    assert said == ["CC-BY-4.0", "B", "cleared", "third", None]
    assert record["conversion_history"] != []
    now = history(store, BRAIN)
    assert now[: len(told)] == told
    assert [list(note["changes"]) for note in now[len(told) :]] == [["notes"]]


def test_what_is_said_while_voxels_are_replaced_is_kept(store: Store, make: Make) -> None:
    """The layer that is visible then is the old one; the new one has it all the same."""
    make(0)
    change_record(store, BRAIN, {"lab": "A"}, ME)
    make(
        1,
        restart=True,
        reading=lambda: change_record(store, BRAIN, {"license": "CC0-1.0"}, ME),
    )
    assert (_record(store)["lab"], _record(store)["license"]) == ("A", "CC0-1.0")
    make(2, restart=True)
    assert (_record(store)["lab"], _record(store)["license"]) == ("A", "CC0-1.0")
    assert len(history(store, BRAIN)) == 2


def test_what_does_not_fit_the_new_voxels_is_refused_before_any_is_written(
    store: Store, make: Make
) -> None:
    """With metadata for the new layer what fits is kept, and the rest stays in the history."""
    make(0)
    dye = {"channels": [{"name": "GFP", "excitation_wavelength_in_nm": 488}], "lab": "A"}
    change_record(store, BRAIN, dye, ME)
    before = sorted(store.sizes(str(BRAIN)))
    with pytest.raises(InputError, match=r"does not fit .*GFP.* --metadata FILE"):
        make(1, "DAPI,RFP", restart=True)
    assert sorted(store.sizes(str(BRAIN))) == before
    make(1, "DAPI,RFP", restart=True, metadata={"notes": "stained anew"})
    assert (_record(store)["lab"], _record(store)["notes"]) == ("A", "stained anew")
    assert len(history(store, BRAIN)) == 1
