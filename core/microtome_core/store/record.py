"""The NWB-style record that stands as ``nwb`` beside ``ome``.

Names are those of the NWB schema 2.11 and of its extension ndx-microscopy; each object carries its
``neurodata_type``. What NWB says of a file stands at the top. `voxel_size_in_um`,
`dimensions_in_voxels` and their planar twins are x, y, z, the reverse of the array's order, as
ndx-microscopy has them. It is NWB-style: an NWB file is an export.

What is read is taken as it is, with all that is unknown here; what is written is held to
`record_checks`, by the context `WRITING`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from microtome_core.store import record_checks as check
from microtome_core.store.record_checks import WRITING, on_write
from microtome_core.store.record_objects import (
    Contributor,
    Conversion,
    Extents2,
    Extents3,
    IlluminationPattern,
    ImagingPlane,
    Indicator,
    Lengths2,
    Lengths3,
    MicroscopyChannel,
    MicroscopyRig,
    Point,
    RecordModel,
    Software,
    SourceFile,
    StereotacticPosition,
    Subject,
    Text,
    Texts,
    Whole,
)
from microtome_core.store.registration import Registration

__all__ = [
    "NWB_VERSION",
    "RECORDING",
    "SCHEMA",
    "SCHEMAS",
    "WRITING",
    "AnyRecord",
    "Conversion",
    "ImagingSpace",
    "Indicator",
    "MicroscopyChannel",
    "Record",
    "RecordingRecord",
    "SourceFile",
    "Subject",
    "imaging_space",
    "model_of",
    "read_record",
]

SCHEMA = "microtome-record/2"
# Those of which a layer's shards are all stored or listed as empty.
SCHEMAS = ("microtome-record/1", SCHEMA)
NWB_VERSION = "2.11.0"
# The `kind` of a record that is of no voxels.
RECORDING: Literal["recording"] = "recording"
_PLANAR = {"voxel_size_in_um": "pixel_size_in_um", "dimensions_in_voxels": "dimensions_in_pixels"}


class ImagingSpace(RecordModel):
    """Size and extent of the imaged box, in x, y, z (x, y for planar images), and what it is of."""

    neurodata_type: Literal["VolumetricImagingSpace", "PlanarImagingSpace"]
    anatomical_target: Annotated[
        Text | None,
        Field(description="region, by an atlas's name where there is one", examples=["cerebellum"]),
    ] = None
    description: Text | None = None
    voxel_size_in_um: Annotated[
        Lengths3 | None, Field(description="x, y, z; absent where nobody knows it")
    ] = None
    dimensions_in_voxels: Annotated[Extents3 | None, Field(description="x, y, z")] = None
    pixel_size_in_um: Annotated[Lengths2 | None, Field(description="x, y, of a planar image")] = (
        None
    )
    dimensions_in_pixels: Annotated[Extents2 | None, Field(description="x, y")] = None
    origin: Annotated[
        Point | None,
        Field(
            description="x, y, z in µm of the first voxel, in the space that `description` names"
        ),
    ] = None
    illumination_pattern: IlluminationPattern | None = None
    fov_center_coordinates: StereotacticPosition | None = None

    @model_validator(mode="before")
    @classmethod
    def _planar(cls, value: Any) -> Any:  # noqa: ANN401 - JSON of any kind
        """Take what the first schema said of planar images, under the names of volumes."""
        if not isinstance(value, Mapping) or value.get("neurodata_type") != "PlanarImagingSpace":
            return value
        return {_PLANAR.get(key, key): each for key, each in value.items()}

    @property
    def size_in_um(self) -> list[float] | None:
        """Voxel or pixel size in x, y, z or x, y; None where nobody knows it."""
        return self.voxel_size_in_um or self.pixel_size_in_um

    @property
    def dimensions(self) -> list[int]:
        """Extents in x, y, z or x, y."""
        return self.dimensions_in_voxels or self.dimensions_in_pixels or []


class AnyRecord(RecordModel):
    """What is known of a layer of any kind beyond its values."""

    schema_id: str = SCHEMA
    nwb_version: str = NWB_VERSION
    neurodata_type: str
    data: Annotated[str, Field(description="path of the array, relative to the layer")] = "0"

    session_description: Annotated[
        Text | None, Field(examples=["one hemisphere, cleared, imaged from the side"])
    ] = None
    identifier: Annotated[
        Text | None, Field(description="of this recording and no other, such as a UUID")
    ] = None
    session_start_time: Annotated[
        Annotated[str, on_write(check.moment)] | None,
        Field(description="ISO 8601 with time zone", examples=["2024-05-01T14:30:00+02:00"]),
    ] = None
    acquisition_date: Annotated[
        str | None,
        Field(description="as the source tells it, whose clock may have had no zone"),
    ] = None
    experimenter: Annotated[
        Texts, Field(description="family name first", examples=[["Ramón y Cajal, Santiago"]])
    ] = Field(default_factory=list)
    institution: Annotated[Text | None, Field(examples=["Mayo Clinic"])] = None
    lab: Text | None = None
    keywords: Annotated[Texts, Field(examples=[["neuron", "sparse labelling"]])] = Field(
        default_factory=list
    )
    experiment_description: Text | None = None
    session_id: Text | None = None
    related_publications: Annotated[
        list[Annotated[str, on_write(check.publication)]],
        Field(examples=[["doi:10.1038/nature13186"]]),
    ] = Field(default_factory=list)
    notes: Text | None = None
    protocol: Text | None = None
    surgery: Text | None = None
    virus: Text | None = None
    pharmacology: Text | None = None
    slices: Text | None = None
    data_collection: Text | None = None

    subject: Subject | None = None
    microscopy_rig: MicroscopyRig | None = None
    indicators: list[Indicator] = Field(default_factory=list)
    imaging_plane: ImagingPlane | None = None
    acquisition_software: Software | None = None

    license: Annotated[
        Annotated[str, on_write(check.license_id)] | None,
        Field(description="SPDX", examples=["CC-BY-4.0"]),
    ] = None
    doi: Annotated[
        Annotated[str, on_write(check.doi)] | None,
        Field(description="of the data", examples=["10.48324/dandi.000026"]),
    ] = None
    contributors: list[Contributor] = Field(default_factory=list)

    source_format: str
    source_files: list[SourceFile]
    conversion_history: list[Conversion]
    original_metadata: Annotated[
        dict[str, Any],
        Field(description="what has no place above, verbatim under its format's name"),
    ] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what goes into ``zarr.json``; what is not known is left out."""
        told = self.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in told.items() if value != [] or key in _ALWAYS}


class Record(AnyRecord):
    """What is known of a layer beyond its voxels."""

    channels: list[MicroscopyChannel] = Field(default_factory=list)
    imaging_space: ImagingSpace
    significant_bits: Annotated[
        Whole | None, Field(ge=1, le=64, description="of a voxel, that the detector gave")
    ] = None
    # Transforms to named spaces.
    registrations: list[Registration] = Field(default_factory=list)


class RecordingRecord(AnyRecord):
    """What is known of a recording of trials, which has no voxels, beyond its values."""

    kind: Literal["recording"]


_ALWAYS = ("channels", "source_files", "conversion_history")


def imaging_space(
    dimensions: list[int], size_in_um: list[float] | None, *, planar: bool
) -> ImagingSpace:
    """Return the imaged box; lists are x, y, z, or x, y where it is planar."""
    if planar:
        return ImagingSpace(
            neurodata_type="PlanarImagingSpace",
            pixel_size_in_um=size_in_um,
            dimensions_in_pixels=dimensions,
        )
    return ImagingSpace(
        neurodata_type="VolumetricImagingSpace",
        voxel_size_in_um=size_in_um,
        dimensions_in_voxels=dimensions,
    )


def model_of(value: Mapping[str, Any]) -> type[Record] | type[RecordingRecord]:
    """Return the form of a record: that of voxels, or that of a recording."""
    return RecordingRecord if value.get("kind") == RECORDING else Record


def read_record(value: Mapping[str, Any]) -> Record | RecordingRecord:
    """Read a record of any schema that there was, as it is, with what is unknown here.

    Raises
    ------
    ValueError
        It is no record: another program's attributes, or damaged ones.
    """
    return model_of(value).model_validate(dict(value))
