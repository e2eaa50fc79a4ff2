"""The NWB-style record that stands as ``nwb`` beside ``ome``.

Names are those of the NWB schema 2.11 and of its extension ndx-microscopy; each object carries its
``neurodata_type``. `voxel_size_in_um` and `dimensions_in_voxels` are x, y, z, the reverse of the
array's order, as ndx-microscopy has them. It is NWB-style: an NWB file is an export.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "microtome-record/1"
NWB_VERSION = "2.11.0"


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow")


class SourceFile(_Model):
    """A file that the voxels came from."""

    name: str
    size: int
    sha256: str | None = None
    etag: Annotated[str | None, Field(description="of an object that was not read whole")] = None


class Conversion(_Model):
    """One step in the history of the voxels."""

    tool: str
    version: str
    timestamp: str
    parameters: dict[str, Any]


class MicroscopyChannel(_Model):
    """A colour, with its dye and wavelengths where they are known."""

    neurodata_type: Literal["MicroscopyChannel"] = "MicroscopyChannel"
    name: str
    excitation_wavelength_in_nm: float | None = None
    emission_wavelength_in_nm: float | None = None
    description: str | None = None


class ImagingSpace(_Model):
    """Size and extent of the imaged box, in x, y, z (x, y for planar images)."""

    neurodata_type: Literal["VolumetricImagingSpace", "PlanarImagingSpace"]
    voxel_size_in_um: Annotated[
        list[float] | None, Field(description="absent where nobody knows it")
    ] = None
    dimensions_in_voxels: list[int]


class Record(_Model):
    """What is known of a layer beyond its voxels."""

    schema_id: str = SCHEMA
    nwb_version: str = NWB_VERSION
    neurodata_type: str
    data: Annotated[str, Field(description="path of the array, relative to the layer")] = "0"
    imaging_space: ImagingSpace
    channels: list[MicroscopyChannel] = []
    source_format: str
    source_files: list[SourceFile]
    conversion_history: list[Conversion]
    original_metadata: Annotated[
        dict[str, Any],
        Field(description="what has no place above, verbatim under its format's name"),
    ] = {}

    def to_json(self) -> dict[str, Any]:
        """Return what goes into ``zarr.json``."""
        return self.model_dump(mode="json", exclude_none=True)
