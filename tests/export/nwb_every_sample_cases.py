"""What each real file says, through record and NWB: every value of it stands in the file again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from math import isclose
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO

from microtome_ingest.formats import open_source
from tests.export.made import Made, make
from tests.ingest.expectations import Expected, parametrized
from tests.ingest.test_record_facts import recorded

pytestmark = [
    pytest.mark.samples,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
# z, y, x: all differ. Few channels are enough to tell one from another.
SHAPE, MOST = (3, 4, 5), 4
# What is of the file and its arrays, told by others, and what stands verbatim beside the record.
NOT_SAID = frozenset({
    "schema_id", "nwb_version", "neurodata_type", "data", "imaging_space", "source_format",
    "source_files", "conversion_history", "original_metadata", "channels",
})  # fmt: skip


class Layers:
    """A layer for each number of channels, which says what it is told and no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[int, tuple[Made, bytes]] = {}
        self._said: set[str] = set()

    def is_new(self, record: Mapping[str, Any]) -> bool:
        """Tell whether no sample before has said the very same."""
        said = json.dumps(
            {key: record[key] for key in record if key not in NOT_SAID - {"channels"}}
        )
        new = said not in self._said
        self._said.add(said)
        return new

    def saying(self, record: Mapping[str, Any]) -> Made:
        """Return a layer with the channels of a record, and all that it says."""
        count = max(1, min(MOST, len(record["channels"])))
        if count not in self._made:
            root = self._folder / f"root{count}"
            made = make(root, "czyx", shape=(count, *SHAPE), chunk=None)
            self._made[count] = made, self._document(made).read_bytes()
        made, document = self._made[count]
        self._document(made).write_bytes(document)
        told = {key: value for key, value in record.items() if key not in NOT_SAID}
        channels = {"channels": record["channels"][:MOST]} if record["channels"] else {}
        made.tell(**told, **channels)
        return made

    def _document(self, made: Made) -> Path:
        return made.root / made.address / "zarr.json"


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    """What makes layers."""
    return Layers(tmp_path_factory.mktemp("layers"))


@pytest.mark.parametrize(("name", "expected"), parametrized(readable=True))
def test_what_a_sample_says_comes_back(
    samples: Path, tmp_path: Path, layers: Layers, name: str, expected: Expected
) -> None:
    """Session, people, subject, devices, dyes and light, as pynwb reads them; sizes are x, y, z."""
    with closing(open_source(str(samples / name), 0)) as source:
        found = source.description
    record = recorded(dict(found.metadata), found.channels)
    if not layers.is_new(record):
        return
    made = layers.saying(record)
    assert made.export("nwb", tmp_path / "a.nwb", "--allow-incomplete") == 0
    with NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as io:
        nwb = io.read()
        if started := record.get("session_start_time"):
            assert nwb.session_start_time == datetime.fromisoformat(started)
        images = list(nwb.acquisition.values())
        assert len(images) == len(record["channels"][:MOST] or [None])
        for image in images:
            space = image.volumetric_imaging_space
            assert np.allclose(space.voxel_size_in_um[:], [0.25, 0.5, 2.0])
            assert space.dimensions_in_voxels[:].tolist() == [5, 4, 3]
    texts, numbers = _held(tmp_path / "a.nwb")
    said = {key: value for key, value in record.items() if key not in NOT_SAID}
    said.pop("session_start_time", None)
    lost = [leaf for leaf in _leaves(said) if not _there(leaf, texts, numbers)]
    assert lost == []
    light = [_leaves(channel) for channel in record["channels"][:MOST]]
    assert [leaf for leaves in light for leaf in leaves if not _there(leaf, texts, numbers)] == []


def _leaves(value: object, key: str = "") -> Iterator[object]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from _leaves(below, key)
    elif key != "neurodata_type":
        yield value


def _there(leaf: object, texts: str, numbers: set[float]) -> bool:
    text = str(leaf).strip()
    if text in texts or text.replace("/", "-").replace(":", "-") in texts:
        return True
    if isinstance(leaf, int | float):
        return any(isclose(leaf, number, rel_tol=1e-6) for number in numbers)
    return False


def _held(path: Path) -> tuple[str, set[float]]:
    """Return all texts of an HDF5 file, and all numbers that are not voxels."""
    texts: list[str] = []
    values: list[Any] = []

    def visit(name: str, node: Any) -> None:  # noqa: ANN401 - a group or a dataset
        texts.append(name)
        values.extend(node.attrs.values())
        if isinstance(node, h5py.Dataset) and 0 < node.size < 50:
            values.append(node[()])

    with h5py.File(path, "r") as file:
        values.extend(file.attrs.values())
        file.visititems(visit)
    each = [one for value in values for one in np.atleast_1d(np.asarray(value, object)).ravel()]
    texts += [one.decode() if isinstance(one, bytes) else one for one in each
              if isinstance(one, bytes | str)]  # fmt: skip
    return "\n".join(texts), {
        float(one) for one in each if isinstance(one, int | float | np.number)
    }
