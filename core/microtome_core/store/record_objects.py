"""The objects of a record, under the names of NWB 2.11, ndx-microscopy and ndx-ophys-devices.

What stands under a device's model there (manufacturer, aperture, magnification) stands with the
device here. A link is the name of what it leads to.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)

from microtome_core.store import record_checks as check
from microtome_core.store.record_checks import on_write


def _no_bool(value: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")  # noqa: TRY004 - pydantic takes ValueErrors
    return value


def _in_list(value: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    return [value] if isinstance(value, str) else value


class RecordModel(BaseModel):
    """Keeps what it does not know; numbers are finite; a number is taken where text is meant."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True, allow_inf_nan=False)


_two: dict[str, JsonValue] = {"minItems": 2, "maxItems": 2}
_three: dict[str, JsonValue] = {"minItems": 3, "maxItems": 3}

Text = Annotated[str, on_write(check.text)]
Texts = Annotated[list[Text], BeforeValidator(_in_list)]
Number = Annotated[float, BeforeValidator(_no_bool)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Positive = Annotated[Number, on_write(check.positive)]
Wavelength = Annotated[Number, on_write(check.wavelength)]
Band = Annotated[list[Number], on_write(check.wavelengths), Field(json_schema_extra=_two)]
Length = Annotated[Number, on_write(check.length)]
Lengths2 = Annotated[list[Length], on_write(check.sized(2)), Field(json_schema_extra=_two)]
Lengths3 = Annotated[list[Length], on_write(check.sized(3)), Field(json_schema_extra=_three)]
Extents2 = Annotated[list[Whole], on_write(check.sized(2)), Field(json_schema_extra=_two)]
Extents3 = Annotated[list[Whole], on_write(check.sized(3)), Field(json_schema_extra=_three)]
Spacing = Annotated[list[Positive], on_write(check.sized(2, 3))]
Point = Annotated[list[Number], on_write(check.sized(2, 3))]
Orientation = Annotated[str, on_write(check.orientation)]


class Subject(RecordModel):
    """Whose brain it is."""

    neurodata_type: Literal["Subject"] = "Subject"
    subject_id: Annotated[
        Annotated[str, on_write(check.subject_id)] | None,
        Field(description="what the lab calls it, without a slash", examples=["mouse-7"]),
    ] = None
    species: Annotated[
        Annotated[str, on_write(check.species)] | None,
        Field(
            description="Latin binomial, or http://purl.obolibrary.org/obo/NCBITaxon_10090",
            examples=["Mus musculus"],
            json_schema_extra={"pattern": f"^({check.SPECIES})$"},
        ),
    ] = None
    sex: Annotated[
        str | None,
        Field(
            description="M male, F female, O other, U unknown",
            examples=["F"],
            json_schema_extra={"enum": ["M", "F", "O", "U", "XO", "XX", None]},
        ),
    ] = None
    age: Annotated[
        Annotated[str, on_write(check.age)] | None,
        Field(
            description="ISO 8601 duration at the session: P90D is 90 days; P60D/P90D a range",
            examples=["P90D"],
            json_schema_extra={"pattern": check.AGE},
        ),
    ] = None
    date_of_birth: Annotated[
        Annotated[str, on_write(check.day)] | None,
        Field(description="instead of age, or beside it", examples=["2024-01-31"]),
    ] = None
    description: Annotated[Text | None, Field(examples=["Thy1-YFP, home cage"])] = None
    genotype: Annotated[Text | None, Field(examples=["Thy1-YFP-H/+"])] = None
    strain: Annotated[Text | None, Field(examples=["C57BL/6J"])] = None
    weight: Annotated[
        Annotated[str, on_write(check.weight)] | None,
        Field(description="a number and its unit", examples=["24.5 g"]),
    ] = None

    @field_validator("sex")
    @classmethod
    def _check_sex(cls, value: str | None, info: ValidationInfo) -> str | None:
        writing = info.context and info.context.get("writing")
        return (
            check.sex(value, info.data.get("species")) if writing and value is not None else value
        )


class Device(RecordModel):
    """A piece of equipment."""

    name: Annotated[Text | None, Field(examples=["scope-1"])] = None
    description: Text | None = None
    manufacturer: Annotated[Text | None, Field(examples=["Zeiss"])] = None
    model_name: Annotated[Text | None, Field(examples=["LSM 980"])] = None
    model_number: Text | None = None
    serial_number: Text | None = None


class Microscope(Device):
    """A microscope."""

    neurodata_type: Literal["Microscope"] = "Microscope"
    technique: Annotated[
        Text | None,
        Field(
            description="confocal, two-photon, light sheet, widefield …", examples=["light sheet"]
        ),
    ] = None


class ObjectiveLens(Device):
    """An objective."""

    neurodata_type: Literal["ObjectiveLens"] = "ObjectiveLens"
    numerical_aperture: Annotated[
        Annotated[Number, on_write(check.aperture)] | None, Field(examples=[0.8])
    ] = None
    magnification: Annotated[Positive | None, Field(examples=[20])] = None
    immersion: Annotated[Text | None, Field(examples=["water"])] = None
    refractive_index: Annotated[Positive | None, Field(examples=[1.33])] = None
    working_distance_in_um: Positive | None = None


class ExcitationSource(Device):
    """A laser or a lamp."""

    neurodata_type: Literal["ExcitationSource", "PulsedExcitationSource"] = "ExcitationSource"
    source_type: Annotated[Text | None, Field(examples=["Solid-State Laser"])] = None
    excitation_mode: Annotated[Text | None, Field(examples=["one-photon"])] = None
    wavelength_range_in_nm: Band | None = None
    power_in_W: Positive | None = None  # noqa: N815
    exposure_time_in_s: Positive | None = None


class Photodetector(Device):
    """A camera or a photomultiplier."""

    neurodata_type: Literal["Photodetector"] = "Photodetector"
    detector_type: Annotated[Text | None, Field(examples=["PMT"])] = None
    gain: Number | None = None
    gain_unit: Text | None = None


class OpticalFilter(Device):
    """A filter in front of the light or of the detector."""

    neurodata_type: Literal["OpticalFilter", "BandOpticalFilter", "EdgeOpticalFilter"] = (
        "OpticalFilter"
    )
    filter_type: Annotated[Text | None, Field(examples=["Bandpass"])] = None
    center_wavelength_in_nm: Wavelength | None = None
    bandwidth_in_nm: Positive | None = None
    cut_wavelength_in_nm: Wavelength | None = None


class DichroicMirror(Device):
    """A mirror that parts excitation from emission."""

    neurodata_type: Literal["DichroicMirror"] = "DichroicMirror"
    cut_on_wavelength_in_nm: Wavelength | None = None


class MicroscopyRig(RecordModel):
    """What stood in the path of the light."""

    neurodata_type: Literal["MicroscopyRig"] = "MicroscopyRig"
    name: Text | None = None
    description: Text | None = None
    microscope: Microscope | None = None
    objective_lens: ObjectiveLens | None = None
    excitation_source: ExcitationSource | None = None
    excitation_filter: OpticalFilter | None = None
    dichroic_mirror: DichroicMirror | None = None
    photodetector: Photodetector | None = None
    emission_filter: OpticalFilter | None = None


class Indicator(RecordModel):
    """A dye or a protein that shines, or what else gives the contrast."""

    neurodata_type: Literal["Indicator"] = "Indicator"
    name: Annotated[Text, Field(description="channels link to it by name", examples=["EGFP"])]
    label: Annotated[Text | None, Field(description="standard notation", examples=["EGFP"])] = None
    description: Text | None = None
    manufacturer: Text | None = None


class MicroscopyChannel(RecordModel):
    """A colour, with its dye and wavelengths where they are known."""

    neurodata_type: Literal["MicroscopyChannel"] = "MicroscopyChannel"
    name: Annotated[Text, Field(description="as the layer has it", examples=["EGFP"])]
    description: Text | None = None
    excitation_wavelength_in_nm: Annotated[Wavelength | None, Field(examples=[488])] = None
    emission_wavelength_in_nm: Annotated[Wavelength | None, Field(examples=[509])] = None
    emission_range_in_nm: Annotated[Band | None, Field(examples=[[500, 550]])] = None
    indicator: Annotated[
        Text | None, Field(description="name of one of `indicators`", examples=["EGFP"])
    ] = None
    contrast_method: Text | None = None
    acquisition_mode: Text | None = None
    detector: Text | None = None
    emission_filter: Text | None = None
    exposure_time_in_s: Positive | None = None
    pinhole_diameter_in_um: Positive | None = None


class IlluminationPattern(RecordModel):
    """How the light moved over the sample."""

    neurodata_type: Literal[
        "IlluminationPattern", "LineScan", "PlaneAcquisition", "RandomAccessScan"
    ] = "IlluminationPattern"
    description: Text | None = None
    scan_direction: Text | None = None
    line_rate_in_Hz: Positive | None = None  # noqa: N815
    dwell_time_in_s: Positive | None = None
    point_spread_function: Text | None = None
    illumination_angle_in_degrees: Number | None = None
    plane_rate_in_Hz: Positive | None = None  # noqa: N815


class StereotacticPosition(RecordModel):
    """Where in the head the centre of the image lies."""

    neurodata_type: Literal["StereotacticPosition"] = "StereotacticPosition"
    anatomical_target: Text | None = None
    origin: Annotated[Text | None, Field(description="where 0, 0, 0 is", examples=["bregma"])] = (
        None
    )
    orientation: Annotated[
        Orientation | None, Field(description="of x, y, z", examples=["RAS"])
    ] = None
    x_in_mm: Number | None = None
    y_in_mm: Number | None = None
    z_in_mm: Number | None = None


class OpticalChannel(RecordModel):
    """A channel of a plane, as NWB's core has it."""

    neurodata_type: Literal["OpticalChannel"] = "OpticalChannel"
    name: Text | None = None
    description: Text | None = None
    emission_lambda: Annotated[
        Wavelength | None, Field(description="nanometers", examples=[510])
    ] = None


class ImagingPlane(RecordModel):
    """A plane of a two-photon recording, as NWB's core has it."""

    neurodata_type: Literal["ImagingPlane"] = "ImagingPlane"
    name: Text | None = None
    description: Text | None = None
    imaging_rate: Annotated[
        Positive | None, Field(description="frames a second", examples=[30])
    ] = None
    excitation_lambda: Annotated[
        Wavelength | None, Field(description="nanometers", examples=[920])
    ] = None
    indicator: Annotated[Text | None, Field(examples=["GCaMP6s"])] = None
    location: Annotated[Text | None, Field(description="brain region", examples=["V1"])] = None
    optical_channel: list[OpticalChannel] = Field(default_factory=list)
    grid_spacing: Annotated[Spacing | None, Field(description="x, y, z in grid_spacing_unit")] = (
        None
    )
    grid_spacing_unit: Text | None = None
    origin_coords: Annotated[Point | None, Field(description="x, y, z in origin_coords_unit")] = (
        None
    )
    origin_coords_unit: Text | None = None
    reference_frame: Text | None = None


class Software(RecordModel):
    """The program that ran the microscope."""

    name: Annotated[Text, Field(examples=["ZEN 3.8"])]
    version: Text | None = None


class Contributor(RecordModel):
    """Who has a part in the data."""

    name: Annotated[
        Text, Field(description="family name first", examples=["Ramón y Cajal, Santiago"])
    ]
    orcid: Annotated[
        Annotated[str, on_write(check.orcid)] | None,
        Field(examples=["0000-0002-1825-0097"]),
    ] = None
    affiliation: Text | None = None
    roles: Annotated[Texts, Field(examples=[["Author", "DataCollector"]])] = Field(
        default_factory=list
    )


class SourceFile(RecordModel):
    """A file that the voxels came from."""

    name: str
    size: int
    sha256: str | None = None
    etag: Annotated[str | None, Field(description="of an object that was not read whole")] = None


class Conversion(RecordModel):
    """One step in the history of the voxels."""

    tool: str
    version: str
    timestamp: str
    parameters: dict[str, Any]
