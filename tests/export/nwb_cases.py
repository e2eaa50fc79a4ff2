"""NWB: what pynwb reads back is what the layer holds, and DANDI's inspector has no objection."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdmf.build import BuildManager, TypeMap
from hdmf.validate import ValidatorMap
from nwbinspector import Importance, inspect_nwbfile_object, load_config
from pynwb import NWBHDF5IO, validate
from pynwb.validation import get_cached_namespaces_to_validate

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.formats import open_source, scenes
from tests.export.made import SHAPE, SIZES, SUBJECT, Made, make

# pynwb's own: of a table whose column is called what one of its attributes is.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
XYZ = list(SHAPE[::-1])


@dataclass(frozen=True)
class Schema:
    """What pynwb's ``validate`` makes of the schemas that a file brings, in seconds."""

    types: TypeMap
    validators: list[ValidatorMap]


SCHEMAS: dict[str, Schema] = {}


def schema(path: Path) -> Schema:
    """Return the schema of a file, made once for all files that bring the same."""
    with h5py.File(path) as file:
        brought: list[bytes] = []
        file["specifications"].visititems(
            lambda name, item: (
                brought.append(f"{name} {item[()]}".encode())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    key = sha256(b"".join(brought)).hexdigest()
    if key not in SCHEMAS:
        names, manager, _ = get_cached_namespaces_to_validate(str(path))
        catalog = manager.namespace_catalog
        validators = [ValidatorMap(catalog.get_namespace(name=name)) for name in names]
        SCHEMAS[key] = Schema(manager.type_map, validators)
    return SCHEMAS[key]


def inspect(path: Path) -> None:
    """Hold a file against the schema, and against what DANDI calls critical."""
    found = schema(path)
    with NWBHDF5IO(str(path), "r", manager=BuildManager(found.types)) as io:
        builder = io.read_builder()
        assert [e for each in found.validators for e in each.validate(builder)] == []
    config = load_config(filepath_or_keyword="dandi")
    with opened(path) as nwb:
        issues = list(inspect_nwbfile_object(nwb, config=config))
    assert [i for i in issues if i.importance == Importance.CRITICAL] == []


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Read a file back."""
    with NWBHDF5IO(str(path), "r", load_namespaces=False) as io:
        yield io.read()


def test_a_stack_comes_back_with_sizes_in_x_y_z(tmp_path: Path) -> None:
    """Voxels are z, y, x; sizes and dimensions the reverse; the whole record comes back."""
    made = make(tmp_path / "root")
    made.tell(subject=SUBJECT)
    assert made.export("nwb", tmp_path / "a.nwb") == 0
    with opened(tmp_path / "a.nwb") as nwb:
        image = nwb.acquisition["brain"]
        assert image.neurodata_type == "VolumetricMicroscopyStaticImage"
        assert np.array_equal(image.data[:], made.voxels)
        assert image.data.compression == "gzip"
        space = image.volumetric_imaging_space
        assert space.voxel_size_in_um[:].tolist() == [0.25, 0.5, 2.0]
        assert space.dimensions_in_voxels[:].tolist() == XYZ
        assert nwb.subject.species == "Mus musculus"
        assert nwb.session_start_time == datetime(1970, 1, 1, tzinfo=UTC)
        assert "session_start_time is not known" in nwb.notes
        record = json.loads(nwb.get_scratch("record_brain").item())
    kept = made.cut().record
    assert record["conversion_history"][:-1] == kept.pop("conversion_history")
    assert record | kept == record


@pytest.mark.parametrize(("axes", "kind", "dimensions"), [
    ("yx", "PlanarMicroscopyStaticImage", "dimensions_in_pixels"),
    ("tyx", "PlanarMicroscopySeries", "dimensions_in_pixels"),
    ("tzyx", "VolumetricMicroscopySeries", "dimensions_in_voxels"),
])  # fmt: skip
def test_each_kind_of_image_has_its_type(
    tmp_path: Path, axes: str, kind: str, dimensions: str
) -> None:
    """Planar or volumetric, static or a series with its rate in hertz."""
    made = make(tmp_path / "root", axes)
    made.tell(subject=SUBJECT)
    assert made.export("nwb", tmp_path / "a.nwb") == 0
    if axes == "tyx":
        inspect(tmp_path / "a.nwb")
    with opened(tmp_path / "a.nwb") as nwb:
        image = nwb.acquisition["brain"]
        assert image.neurodata_type == kind
        assert np.array_equal(image.data[:], made.voxels)
        if "t" in axes:
            assert (image.rate, image.starting_time) == (5.0, 0.0)
        planar = "z" not in axes
        space = image.planar_imaging_space if planar else image.volumetric_imaging_space
        assert getattr(space, dimensions)[:].tolist() == XYZ[: 2 if planar else 3]


@pytest.mark.parametrize("axes", ["yx", "tzyx", "czyx"])
def test_what_was_exported_is_a_source_again(tmp_path: Path, axes: str) -> None:
    """Each channel is an image of its own, with its axes, voxel size, time step and light."""
    made = make(tmp_path / "root", axes)
    light = {"name": "green", "excitation_wavelength_in_nm": 488.0, "indicator": "GCaMP6f"}
    rig = {"microscope": {"name": "meso", "manufacturer": "a lab"}}
    made.tell(subject=SUBJECT, channels=[light], microscopy_rig=rig)
    out = tmp_path / "a.nwb"
    assert made.export("nwb", out) == 0
    expected = made.voxels if "c" in axes else made.voxels[np.newaxis]
    found = scenes(str(out))
    assert len(found) == len(expected)
    for number, voxels in enumerate(expected):
        with closing(open_source(str(out), number)) as source:
            told = source.description
            assert told.axes == axes.removeprefix("c")
            assert told.voxel_size == {axis: SIZES[axis] for axis in axes if axis in SIZES}
            assert told.unit == "micrometer"
            assert told.time_step == (0.2 if "t" in axes else None)
            whole = Region.whole(told.axes, told.shape)
            np.testing.assert_array_equal(source.read(whole), voxels, strict=True)
            assert told.metadata["instrument"]["name"] == "meso"
            assert told.notes == tuple(n for n in told.notes if "imaging space" not in n)
    assert source.description.metadata["NWB"]["subject"]["species"] == "Mus musculus"
    with closing(open_source(str(out), 0)) as source:
        (only,) = source.description.channels
    dye, wave = only.metadata["indicator"], only.metadata["excitation_wavelength_in_nm"]
    assert (dye, wave) == ("GCaMP6f", 488.0)
    assert "emission_wavelength_in_nm" not in only.metadata
    again = ["ingest", str(out), str(tmp_path / "again"), "--as", "lab/mouse/again"]
    assert main([*again, *(["--scene", "0"] if len(found) > 1 else [])]) == 0
    layer = read_layer(Store(str(tmp_path / "again")), LayerId.parse("lab/mouse/again"))
    assert layer.info.levels[0].scale == made.cut().info.levels[0].scale[-len(layer.info.axes) :]


def test_more_objects_than_a_table_holds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are counted in bounded memory; the message says what to do, and there is no file."""
    made = make(tmp_path / "root", "zyx", "uint32", "--kind", "labels")
    made.tell(subject=SUBJECT)
    monkeypatch.setattr("microtome_ingest.export.nwb_images._MOST_OBJECTS", 300)
    assert made.export("nwb", tmp_path / "a.nwb") == 2
    assert "more than 300 objects" in capsys.readouterr().err
    assert not (tmp_path / "a.nwb").exists()
    assert made.export("nwb", tmp_path / "a.nwb", "--region", "z=0:1,y=0:4,x=0:70") == 0
    with closing(open_source(str(tmp_path / "a.nwb"))) as source:
        told = source.description
        assert (told.axes, told.voxel_size) == ("zyx", SIZES)
        whole = Region.whole("zyx", told.shape)
        np.testing.assert_array_equal(source.read(whole), made.voxels[:1, :4])


def test_each_channel_is_an_object_with_its_light(tmp_path: Path) -> None:
    """Wavelengths and dye are the channel's own; what nobody knows is NaN and said to be."""
    made = make(tmp_path / "root", "czyx")
    told = [
        {"name": "green", "excitation_wavelength_in_nm": 488.0, "indicator": "GCaMP6f"},
        {"name": "red", "emission_wavelength_in_nm": 610.0},
    ]
    microscope = {"name": "mesoSPIM", "technique": "light sheet", "manufacturer": "a lab"}
    lens = {"neurodata_type": "ObjectiveLens", "name": "lens", "magnification": 20.0}
    rig = {"microscope": {**microscope, "model_name": "benchtop"}, "objective_lens": lens}
    made.tell(subject=SUBJECT, channels=told, microscopy_rig=rig)
    assert made.export("nwb", tmp_path / "a.nwb", "--region", "z=1:4,x=10:30") == 0
    inspect(tmp_path / "a.nwb")
    with opened(tmp_path / "a.nwb") as nwb:
        assert len(nwb.acquisition) == 2
        for index, image in enumerate(nwb.acquisition[f"brain_channel-{i}"] for i in range(2)):
            assert np.array_equal(image.data[:], made.voxels[index, 1:4, :, 10:30])
        first = nwb.acquisition["brain_channel-0"].microscopy_channel
        assert first.excitation_wavelength_in_nm == 488.0
        assert np.isnan(first.emission_wavelength_in_nm)
        assert "emission is not known" in first.description
        assert first.indicator.label == "GCaMP6f"
        assert image.microscopy_channel.indicator.label == "unknown"
        space = image.volumetric_imaging_space
        assert space.illumination_pattern.neurodata_type == "PlaneAcquisition"
        assert "(2.5, 0, 2) µm" in space.description
        scope = nwb.devices["mesoSPIM"]
        assert scope.technique == "light sheet"
        assert (scope.model.name, scope.model.manufacturer) == ("benchtop", "a lab")
        assert image.microscopy_rig.objective_lens.description == "magnification: 20.0"


def test_a_plane_of_the_record_tells_region_and_light(tmp_path: Path) -> None:
    """What `imaging_plane` knows is not called unknown; what a channel says itself goes first."""
    made = make(tmp_path / "root", "tyx")
    optical = {"name": "green", "emission_lambda": 510.0, "description": "GaAsP"}
    plane = {"location": "V1", "excitation_lambda": 920.0, "indicator": "GCaMP6s",
             "imaging_rate": 5.0, "optical_channel": [optical]}  # fmt: skip
    told = [{"name": "channel-0", "excitation_wavelength_in_nm": 930.0}]
    made.tell(subject=SUBJECT, imaging_plane=plane, channels=told)
    assert made.export("nwb", tmp_path / "a.nwb") == 0
    inspect(tmp_path / "a.nwb")
    with opened(tmp_path / "a.nwb") as nwb:
        image = nwb.acquisition["brain"]
        light = image.microscopy_channel
        assert light.excitation_wavelength_in_nm == 930.0
        assert light.emission_wavelength_in_nm == 510.0
        assert (light.indicator.label, light.description) == ("GCaMP6s", "GaAsP")
        assert image.planar_imaging_space.anatomical_target == "V1"


def test_a_dye_of_the_plane_is_not_that_of_several_channels(tmp_path: Path) -> None:
    """Excitation is the plane's; emission is that of the optical channel of the same name."""
    made = make(tmp_path / "root", "cyx")
    optical = [{"name": "channel-1", "emission_lambda": 610.0}]
    made.tell(subject=SUBJECT, imaging_plane={
        "excitation_lambda": 920.0, "indicator": "GCaMP6s", "optical_channel": optical,
    })  # fmt: skip
    assert made.export("nwb", tmp_path / "a.nwb") == 0
    with opened(tmp_path / "a.nwb") as nwb:
        first, second = (nwb.acquisition[f"brain_channel-{i}"].microscopy_channel for i in (0, 1))
        assert first.excitation_wavelength_in_nm == second.excitation_wavelength_in_nm == 920.0
        assert np.isnan(first.emission_wavelength_in_nm)
        assert second.emission_wavelength_in_nm == 610.0
        assert first.indicator.label == second.indicator.label == "unknown"


def test_all_of_the_file_is_told(tmp_path: Path) -> None:
    """Fields of session, subject and people stand where NWB has them, or in the notes."""
    made = make(tmp_path / "root", "yx")
    texts = {
        "session_description": "a section", "identifier": "abc-1", "session_id": "s1",
        "institution": "an institute", "lab": "a lab", "experiment_description": "an experiment",
    }  # fmt: skip
    made.tell(
        **texts,
        session_start_time="2024-05-01T09:30:00+02:00",
        experimenter=["Ramon, Santiago"],
        keywords=["cortex", "layer 5"],
        related_publications=["doi:10.1000/1"],
        license="CC-BY-4.0",
        contributors=[{"name": "Golgi, Camillo", "orcid": "0000-0002-1825-0097"}],
        subject={**SUBJECT, "date_of_birth": "2024-01-01", "weight": "0.02 kg"},
    )
    assert made.export("nwb", tmp_path / "a.nwb") == 0
    inspect(tmp_path / "a.nwb")
    with opened(tmp_path / "a.nwb") as nwb:
        for name, text in texts.items():
            assert getattr(nwb, name) == text, name
        assert nwb.session_start_time == datetime.fromisoformat("2024-05-01T09:30:00+02:00")
        assert nwb.experimenter == ("Ramon, Santiago",)
        assert list(nwb.keywords[:]) == ["cortex", "layer 5"]
        assert nwb.related_publications == ("doi:10.1000/1",)
        assert "Licence: CC-BY-4.0" in nwb.notes
        assert "Contributor: Golgi, Camillo, 0000-0002-1825-0097" in nwb.notes
        for name, value in SUBJECT.items():
            assert getattr(nwb.subject, name) == value
        assert nwb.subject.weight == "0.02 kg"
        assert nwb.subject.date_of_birth.date().isoformat() == "2024-01-01"


def test_a_dataset_is_one_file(tmp_path: Path) -> None:
    """Images are acquisitions, labels a table of objects with the ids as an image beside it."""
    root = tmp_path / "root"
    made = make(root)
    made.tell(subject=SUBJECT)
    options = ("--kind", "labels", "--labels-of", "brain")
    labels = make(root, "zyx", "uint64", *options, name="lab/mouse/cells")
    whole = Made(root, "lab/mouse", made.voxels)
    assert whole.export("nwb", tmp_path / "a.nwb") == 0
    inspect(tmp_path / "a.nwb")
    with opened(tmp_path / "a.nwb") as nwb:
        assert np.array_equal(nwb.acquisition["brain"].data[:], made.voxels)
        cells = nwb.processing["ophys"]["cells"]
        assert cells.neurodata_type == "VolumetricSegmentation"
        found = cells.summary_images["labels"].data[:]
        assert found.dtype == np.uint64
        assert np.array_equal(found, labels.voxels)
        ids, counts = np.unique(labels.voxels[labels.voxels > 0], return_counts=True)
        assert np.array_equal(cells["label"][:], ids)
        assert np.array_equal(cells["num_voxels"][:], counts)
        assert cells.volumetric_imaging_space.voxel_size_in_um[:].tolist() == [0.25, 0.5, 2.0]


def test_a_link_refers_to_the_store(tmp_path: Path) -> None:
    """With --link no voxel is copied: the path, relative to the file, leads to the image."""
    made = make(tmp_path / "root")
    made.tell(subject=SUBJECT)
    (tmp_path / "out").mkdir()
    assert made.export("nwb", tmp_path / "out" / "a.nwb", "--link") == 0
    inspect(tmp_path / "out" / "a.nwb")
    with opened(tmp_path / "out" / "a.nwb") as nwb:
        series = nwb.acquisition["brain"]
        assert series.format == "external"
        target = tmp_path / "out" / series.external_file[0]
        assert target.resolve() == tmp_path / "root/lab/mouse/brain"
        assert "[0.25, 0.5, 2.0] µm" in series.description
    assert made.export("nwb", tmp_path / "out" / "b.nwb", "--link", "--level", "1") == 2


def test_what_dandi_needs_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names every field that is to be filled, and the command that fills it."""
    made = make(tmp_path / "root", "tyx")
    made.tell(subject={"subject_id": "m7", "sex": "F"})
    assert made.export("nwb", tmp_path / "a.nwb") == 2
    said = capsys.readouterr().err
    assert "needs subject.species, subject.age" in said
    assert "microtome metadata set" in said
    assert list(tmp_path.glob("*.nwb")) == []
    assert made.export("nwb", tmp_path / "a.nwb", "--allow-incomplete") == 0
    assert validate(path=str(tmp_path / "a.nwb")) == []


def test_times_that_nobody_knows_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames are numbered only where the user says so, and the file says it too."""
    made = make(tmp_path / "root", "tyx")
    path = tmp_path / "root/lab/mouse/brain/zarr.json"
    document = json.loads(path.read_text())
    del document["attributes"]["ome"]["multiscales"][0]["axes"][0]["unit"]
    path.write_text(json.dumps(document))
    made.tell(subject=SUBJECT)
    assert made.export("nwb", tmp_path / "a.nwb") == 2
    assert "--time-step" in capsys.readouterr().err
    assert made.export("nwb", tmp_path / "a.nwb", "--allow-incomplete") == 0
    with opened(tmp_path / "a.nwb") as nwb:
        series = nwb.acquisition["brain"]
        assert series.timestamps[:].tolist() == [0.0, 1.0, 2.0]
        assert "numbers of frames" in series.comments


def test_labels_in_time_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NWB's segmentation has no time: the message says what to choose instead."""
    made = make(tmp_path / "root", "tzyx", "uint16", "--kind", "labels")
    made.tell(subject=SUBJECT)
    assert made.export("nwb", tmp_path / "a.nwb") == 2
    assert "--time" in capsys.readouterr().err
    assert made.export("nwb", tmp_path / "a.nwb", "--time", "1") == 0
    with opened(tmp_path / "a.nwb") as nwb:
        found = nwb.processing["ophys"]["brain"].summary_images["labels"].data[:]
        assert np.array_equal(found, made.voxels[1])


def test_layers_of_two_subjects_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One NWB file is of one subject; the message names them."""
    root = tmp_path / "root"
    make(root, "yx").tell(subject=SUBJECT)
    other = make(root, "yx", name="lab/mouse/other")
    other.tell(subject={**SUBJECT, "subject_id": "m8"})
    assert Made(root, "lab/mouse", other.voxels).export("nwb", tmp_path / "a.nwb") == 2
    assert "m7, m8" in capsys.readouterr().err
