"""What sources say of themselves lands in the record, under its names; nothing is guessed."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from microtome_core.levels import Level
from microtome_core.store.ome import Ome, multiscale
from microtome_core.store.record import SCHEMA, WRITING, Record, read_record
from microtome_core.store.record_given import merge
from microtome_ingest.formats import open_source
from microtome_ingest.options import VolumeSpec
from microtome_ingest.record_facts import LEFT_OUT, channels_of, told_by, without_faults
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.ome_xml import images, parse
from tests.ingest.expectations import Expected, parametrized
from tests.ingest.test_nwb import PLANE, described, saved
from tests.later import Later

_OME = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Experimenter ID="E:0" FirstName="Santiago" LastName="Ramón y Cajal" Institution="Cajal"/>
<Experimenter ID="E:1" UserName="zeiss"/>
<Instrument ID="I:0"><Microscope Manufacturer="Zeiss" Model="LSM" SerialNumber="7"/>
<Objective ID="O:0" LensNA="0.8" NominalMagnification="20" Immersion="Air" Model="Plan"/>
</Instrument>
<Image ID="Image:0" Name="a"><AcquisitionDate>2024-05-01T14:30:00</AcquisitionDate>
<Description>one neuron</Description><ExperimenterRef ID="E:{who}"/><InstrumentRef ID="I:0"/>
<ObjectiveSettings ID="O:0"/>
<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="5" SizeY="4" SizeZ="3" SizeC="1"
 SizeT="1" SignificantBits="12"><Channel ID="C:0" Name="green" Fluor="EGFP"
 EmissionWavelength="509"/><TiffData/></Pixels></Image></OME>"""
_SPEC = VolumeSpec("zyx", (3, 4, 5), "uint16", (2.0, 0.5, 0.25), ("micrometer",) * 3, (1, 4, 5))


def recorded(metadata: dict[str, Any], channels: tuple[SourceChannel, ...] = ()) -> dict[str, Any]:
    """Return the record of a source that says so."""
    from microtome_core.store.record import Conversion
    from microtome_ingest.attributes import record
    from microtome_ingest.manifest import SourceFacts

    facts = SourceFacts(
        format="X", image="", scene=None, axes="zyx", shape=(3, 4, 5), order=(0, 1, 2), files=(),
        metadata=metadata,
    )  # fmt: skip
    history = Conversion(tool="", version="", timestamp="", parameters={})
    return record(facts, _SPEC, channels, [], history)


def test_ome_xml_says_who_where_with_what() -> None:
    """A clock without a zone is no session_start_time, and a login is no name."""
    image = images(parse(_OME.format(who=0), "a.ome.tif"), "a.ome.tif")[0]
    record = recorded(dict(image.metadata), image.channels)
    assert record["experimenter"] == ["Ramón y Cajal, Santiago"]
    assert record["institution"] == "Cajal"
    assert record["session_description"] == "one neuron"
    assert record["acquisition_date"] == "2024-05-01T14:30:00"
    assert "session_start_time" not in record
    assert record["significant_bits"] == 12
    assert record["microscopy_rig"]["microscope"]["serial_number"] == "7"
    assert record["microscopy_rig"]["objective_lens"]["numerical_aperture"] == 0.8
    assert record["channels"][0]["indicator"] == record["indicators"][0]["name"] == "EGFP"
    login = images(parse(_OME.format(who=1), "a.ome.tif"), "a.ome.tif")[0]
    assert "experimenter" not in recorded(dict(login.metadata))


def test_sizes_are_x_y_z_where_axes_are_z_y_x() -> None:
    """Of unequal extents and voxel sizes."""
    space = recorded({})["imaging_space"]
    assert space["voxel_size_in_um"] == [0.25, 0.5, 2.0]
    assert space["dimensions_in_voxels"] == [5, 4, 3]


def test_nwb_keeps_its_own_names(tmp_path: Path) -> None:
    """Session, subject, device and plane stand where an NWB file has them."""

    def more(file: Any) -> None:  # noqa: ANN401
        file["general/experimenter"] = ["Doe, Jane"]
        file["general/subject/sex"] = "female"
        file[PLANE]["imaging_rate"] = 30.0
        file[PLANE]["origin_coords"] = [1.0, 2.0]

    found = described(saved(tmp_path, more))
    record = recorded(dict(found.metadata), found.channels)
    assert record["identifier"] == "mouse-7"
    assert record["session_description"] == "looking at gratings"
    assert record["session_start_time"] == "2022-03-04T05:06:07+01:00"
    assert record["lab"] == "north"
    assert record["experimenter"] == ["Doe, Jane"]
    assert record["subject"] == {
        "neurodata_type": "Subject",
        "species": "Mus musculus",
        "age": "P90D",
    }
    assert record["original_metadata"][LEFT_OUT] == {"subject.sex": "female"}
    plane = record["imaging_plane"]
    assert (plane["imaging_rate"], plane["excitation_lambda"]) == (30.0, 920.0)
    assert plane["optical_channel"][0]["emission_lambda"] == 510.0
    assert plane["grid_spacing"] == [2.0, 1.5]
    assert plane["grid_spacing_unit"] == "micrometers"
    assert plane["origin_coords"] == [1.0, 2.0]
    assert record["imaging_space"]["anatomical_target"] == "V1"
    assert record["microscopy_rig"]["microscope"]["manufacturer"] == "Thor"


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("oib/test.oib", "microscopy_rig.objective_lens.magnification", 40.0),
        ("oib/test.oib", "acquisition_software.version", "2.1.2.5"),
        ("oib/test.oib", "channels.1.indicator", "Alexa Fluor 546"),
        ("nd2/cluster.nd2", "channels.0.emission_wavelength_in_nm", 525.0),
        ("lsm/test.lsm", "channels.0.emission_range_in_nm", [571.727496, 630.372972]),
        ("czi/aicspylibczi/tiles_z.czi", "microscopy_rig.objective_lens.immersion", "Water"),
        ("ims/brain_crop3_levels2-3.DERIVED.ims", "acquisition_date", "2018-12-10T23:23:19"),
    ],
)
def test_real_files_fill_their_fields(samples: Path, name: str, path: str, value: object) -> None:
    """As the makers of microscopes write them."""
    with closing(open_source(str(samples / name))) as source:
        found = source.description
    record: Any = recorded(dict(found.metadata), found.channels)
    for step in path.split("."):
        record = record[int(step)] if isinstance(record, list) else record[step]
    assert record == value


@pytest.mark.samples
@pytest.mark.parametrize(("name", "expected"), parametrized(readable=True))
def test_what_a_sample_says_survives(samples: Path, name: str, expected: Expected) -> None:
    """All of it stands in the record: in its place or left out of it, and verbatim, through JSON;
    beside it is OME-Zarr as ome-zarr-models has it.
    """
    with closing(open_source(str(samples / name), 0)) as source:
        found = source.description
    record = recorded(dict(found.metadata), found.channels)
    scales = multiscale("a", "zyx", _SPEC.units, [Level((1, 1, 1), (3, 4, 5), _SPEC.scale)], "mean")
    document = json.dumps({"ome": Ome(multiscales=[scales]).to_json(), "nwb": record})
    attributes = json.loads(document, parse_constant=pytest.fail)
    Later("ome_zarr_models.v05.image").ImageAttrs.model_validate(attributes["ome"])
    stored = attributes["nwb"]
    assert read_record(stored).to_json() == stored
    assert Record.model_validate(stored, context=WRITING).to_json() == stored
    kept = stored["original_metadata"]
    left = kept.pop(LEFT_OUT, {})
    assert kept == json.loads(json.dumps(dict(found.metadata)))
    assert {key for key in told_by(found.metadata) if key not in stored} <= set(left)
    for ours, theirs in zip(stored["channels"], channels_of(found.channels), strict=True):
        assert set(theirs) <= {*ours, *(path.rpartition(".")[2] for path in left)}


def test_what_cannot_be_is_left_out_and_kept() -> None:
    """Each at its place; what stands beside it stays."""
    channels = (
        SourceChannel("a", metadata={"emission_wavelength_in_nm": 0.5, "indicator": "EGFP"}),
        SourceChannel(None, metadata={"excitation_wavelength_in_nm": 488}),
    )
    record = recorded(
        {"objective": {"LensNA": 20, "Model": "Plan"}, "significant_bits": 99}, channels
    )
    assert record["schema_id"] == SCHEMA
    assert record["original_metadata"][LEFT_OUT] == {
        "significant_bits": 99,
        "channels.0.emission_wavelength_in_nm": 0.5,
        "microscopy_rig.objective_lens.numerical_aperture": 20,
    }
    assert record["channels"][0]["indicator"] == "EGFP"
    assert record["channels"][1] == {
        "neurodata_type": "MicroscopyChannel",
        "name": "channel-1",
        "excitation_wavelength_in_nm": 488.0,
    }
    assert record["microscopy_rig"]["objective_lens"]["model_name"] == "Plan"


def test_faults_in_lists_take_their_list_along() -> None:
    """An entry without what it must have cannot stand alone."""
    base = recorded({})
    told = merge(base, {"contributors": [{"orcid": "x"}, {"name": "A"}], "subject": {"age": "?"}})
    found = without_faults(told)
    assert "contributors" not in found
    assert found["original_metadata"][LEFT_OUT]["subject.age"] == "?"
