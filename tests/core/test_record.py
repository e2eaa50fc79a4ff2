"""What a record may say, and how a mistake is to be mended."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from microtome_core.store.record import SCHEMA, WRITING, Record, imaging_space, read_record
from microtome_core.store.record_checks import orcid_check

BASE: dict[str, Any] = {
    "neurodata_type": "VolumetricMicroscopyStaticImage",
    "imaging_space": imaging_space([3, 2, 1], [0.5, 0.6, 2.0], planar=False).model_dump(),
    "source_format": "TIFF",
    "source_files": [],
    "conversion_history": [],
}


def _faults(**told: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Record.model_validate(BASE | told, context=WRITING)
    return {".".join(map(str, f["loc"])): f["msg"] for f in caught.value.errors()}


@pytest.mark.parametrize(
    ("field", "value", "mend"),
    [
        ("subject.age", "90 days", "write P90D"),
        ("subject.age", "8-12 weeks", "write P8W/P12W"),
        ("subject.age", "P", "P90D for 90 days"),
        ("subject.age", "P90D/P60D", "younger age first"),
        ("subject.sex", "female", "write F"),
        ("subject.sex", "f", "write F"),
        ("subject.sex", "hermaphrodite", "write M (male), F (female)"),
        ("subject.species", "mouse", "write Mus musculus"),
        ("subject.species", "mus musculus", "write Mus musculus"),
        ("subject.species", "NCBITaxon:10090", "obo/NCBITaxon_10090"),
        ("subject.subject_id", "a/b", "write a-b"),
        ("subject.weight", "25", "such as 25 g"),
        ("subject.date_of_birth", "1.2.2024", "write it as 2024-05-01"),
        ("subject.date_of_birth", "2999-01-01", "in the future"),
        ("subject.genotype", " ", "leave it out"),
        ("session_start_time", "2999-01-01T00:00:00Z", "in the future"),
        ("session_start_time", "2024-05-01T14:30:00", "no time zone"),
        ("session_start_time", "yesterday", "write it as 2024-05-01T14:30:00+02:00"),
        ("license", "cc by", "write CC-BY-4.0"),
        ("license", "cc0", "write CC0-1.0"),
        ("license", "mine", "spdx.org"),
        ("doi", "zenodo", "write it as 10."),
        ("significant_bits", 65, "less than or equal to 64"),
        ("significant_bits", True, "no number"),
        ("imaging_plane.excitation_lambda", 0.92, "write 920"),
        ("imaging_plane.imaging_rate", 0, "not above 0"),
        ("microscopy_rig.objective_lens.numerical_aperture", 20, "up to 2"),
        ("imaging_space.fov_center_coordinates.orientation", "XYZ", "such as RAS"),
        ("imaging_space.fov_center_coordinates.orientation", "RLS", "at most one of each"),
    ],
)
def test_a_mistake_names_its_field_and_how_to_mend_it(field: str, value: object, mend: str) -> None:
    """What the NWB inspector calls critical, and units that cannot be, are refused in words."""
    *folders, name = field.split(".")
    told: dict[str, Any] = {name: value}
    for folder in reversed(folders):
        told = {folder: told}
    if "imaging_space" in told:
        told["imaging_space"] = BASE["imaging_space"] | told["imaging_space"]
    faults = _faults(**told)
    assert list(faults) == [field]
    assert mend in faults[field]


@pytest.mark.parametrize(
    ("told", "mend"),
    [
        ({"rrid": "SCR_020999"}, "write RRID:SCR_020999"),
        ({"rrid": "RRID:SCR"}, "is no RRID"),
        ({"rrid": "RRID: SCR_020999"}, "is no RRID"),
        ({"orientation": "PIP"}, "orientation 'PIP': write 3 letters"),
        ({"orientation": "PI"}, "orientation 'PI': write 3 letters"),
        ({"orientation": "pir"}, "orientation 'pir'"),
        ({"orientation": "XYZ"}, "P/A, I/S, L/R"),
    ],
)
def test_a_space_is_named_as_others_name_it(told: dict[str, str], mend: str) -> None:
    """An RRID has its form, an orientation a letter an axis, none of them twice or opposite."""
    known = {"space": "ccf", "affine": np.eye(4).tolist()}
    faults = _faults(registrations=[known | told])
    assert mend in " ".join(faults.values())
    assert all(key.startswith("registrations.0") for key in faults)


@pytest.mark.parametrize(
    "rrid", ["RRID:SCR_020999", "RRID:MGI:5576233", "RRID:IMSR_JAX:000664", "RRID:CVCL_A123"]
)
def test_every_form_of_rrid_is_taken(rrid: str) -> None:
    """With digits behind an underscore, or with a colon."""
    told = {"space": "ccf", "affine": np.eye(4).tolist(), "rrid": rrid, "orientation": "PIR"}
    record = Record.model_validate(BASE | {"registrations": [told]}, context=WRITING)
    assert record.registrations[0].rrid == rrid


def test_every_mistake_is_told_at_once() -> None:
    """A list of channels and of contributors names the entry at fault."""
    faults = _faults(
        subject={"age": "old", "sex": "x"},
        channels=[{"name": "a"}, {"name": "b", "emission_wavelength_in_nm": 5.2e-7}],
        contributors=[{"name": "A", "orcid": "0000-0002-1825-0096"}],
    )
    assert set(faults) == {
        "subject.age",
        "subject.sex",
        "channels.1.emission_wavelength_in_nm",
        "contributors.0.orcid",
    }
    assert "write 520" in faults["channels.1.emission_wavelength_in_nm"]


def test_a_worm_has_the_sexes_of_a_worm() -> None:
    """The inspector asks XO or XX of C. elegans, and of nobody else."""
    worm = {"species": "Caenorhabditis elegans", "sex": "XX"}
    assert Record.model_validate(BASE | {"subject": worm}, context=WRITING).subject
    assert list(_faults(subject=worm | {"sex": "F"})) == ["subject.sex"]
    assert list(_faults(subject=worm | {"species": "Mus musculus"})) == ["subject.sex"]


def test_one_form_of_each_is_stored() -> None:
    """Addresses of a DOI and an ORCID become what they are of, times ISO 8601, ids their case."""
    record = Record.model_validate(
        BASE
        | {
            "doi": "https://doi.org/10.48324/dandi.000026",
            "license": "cc-by-4.0",
            "session_start_time": "2024-05-01 14:30Z",
            "experimenter": "Ramón y Cajal, Santiago",
            "related_publications": ["10.1038/nature13186"],
            "contributors": [{"name": "A", "orcid": "https://orcid.org/0000-0002-1694-233x"}],
            "session_id": 7,
        },
        context=WRITING,
    ).to_json()
    assert record["doi"] == "10.48324/dandi.000026"
    assert record["license"] == "CC-BY-4.0"
    assert record["session_start_time"] == "2024-05-01T14:30:00+00:00"
    assert record["experimenter"] == ["Ramón y Cajal, Santiago"]
    assert record["related_publications"] == ["doi:10.1038/nature13186"]
    assert record["contributors"][0]["orcid"] == "0000-0002-1694-233X"
    assert record["session_id"] == "7"


def test_the_first_schema_is_read() -> None:
    """A planar image of it has the names of volumes; what is unknown is kept, and not checked."""
    record = read_record(
        {
            "schema_id": "microtome-record/1",
            "nwb_version": "2.11.0",
            "neurodata_type": "PlanarMicroscopySeries",
            "data": "v2/0",
            "imaging_space": {
                "neurodata_type": "PlanarImagingSpace",
                "voxel_size_in_um": [0.5, 0.25],
                "dimensions_in_voxels": [7, 5],
            },
            "channels": [
                {
                    "neurodata_type": "MicroscopyChannel",
                    "name": "channel",
                    "indicator": "EGFP",
                    "modality": ["wide"],
                }
            ],
            "source_format": "ND2",
            "source_files": [{"name": "a.nd2", "size": 7}],
            "conversion_history": [],
            "subject": {"age": "90 days"},
            "mine": {"own": 1},
        }
    )
    assert record.schema_id == "microtome-record/1"
    assert record.imaging_space.size_in_um == [0.5, 0.25]
    assert record.imaging_space.dimensions == [7, 5]
    told = record.to_json()
    assert told["imaging_space"]["pixel_size_in_um"] == [0.5, 0.25]
    assert told["channels"][0]["modality"] == ["wide"]
    assert told["mine"] == {"own": 1}
    assert told["subject"]["age"] == "90 days"


_words = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=12)
_numbers = st.floats(allow_nan=True) | st.integers() | st.booleans()
_subjects = st.fixed_dictionaries(
    {},
    optional={
        "age": st.from_regex(r"P?[0-9]{0,2}[DWMY]?(/P[0-9]D)?", fullmatch=True) | _words,
        "sex": st.sampled_from(["M", "F", "U", "O", "XX", "male"]) | _words,
        "species": st.sampled_from(["Mus musculus", "mouse"]) | _words,
        "weight": st.sampled_from(["2 g", "2"]) | _words,
        "subject_id": _words | st.integers(),
        "date_of_birth": st.dates().map(str) | _words,
    },
)
_records = st.fixed_dictionaries(
    {},
    optional={
        "subject": _subjects,
        "session_start_time": st.datetimes(timezones=st.timezones()).map(str) | _words,
        "significant_bits": _numbers,
        "license": st.sampled_from(["MIT", "cc-by-4.0", "CC"]) | _words,
        "doi": st.from_regex(r"(doi:)?10\.[0-9]{3,5}/[a-z]*", fullmatch=True) | _words,
        "keywords": st.lists(_words) | _words,
        "channels": st.lists(
            st.fixed_dictionaries(
                {"name": _words}, optional={"emission_wavelength_in_nm": _numbers}
            )
        ),
        "contributors": st.lists(
            st.fixed_dictionaries(
                {"name": _words},
                optional={
                    "orcid": st.integers(0, 10**15 - 1)
                    .map(lambda n: f"{n:015}")
                    .map(lambda d: f"{d[:4]}-{d[4:8]}-{d[8:12]}-{d[12:]}{orcid_check(d)}")
                    | _words
                },
            )
        ),
    },
)


@given(_records)
def test_what_is_accepted_round_trips_and_what_is_refused_names_the_field(
    told: dict[str, Any],
) -> None:
    """Through JSON without numbers that it has not; written again it is the same."""
    try:
        record = Record.model_validate(BASE | told, context=WRITING)
    except ValidationError:
        assert {name.partition(".")[0] for name in _faults(**told)} <= set(told)
        return
    stored = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert stored["schema_id"] == SCHEMA
    assert read_record(stored) == record
    assert Record.model_validate(stored, context=WRITING).to_json() == stored
