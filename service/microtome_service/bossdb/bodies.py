"""What callers send to create and change resources, checked whole before anything is done."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from microtome_core.errors import InputError, TooLarge
from microtome_service.bossdb.frames import Frame

MOST_BODY = 1 << 20
_LONGEST_TEXT = 65536
_MOST_EXTENT = 2**40
_Text = Annotated[str, Field(max_length=_LONGEST_TEXT)]
_Name = Annotated[str, Field(max_length=255)]
_Size = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
_Stop = Annotated[int, Field(ge=1, le=_MOST_EXTENT, strict=True)]
_Start = Annotated[int, Field(ge=0, le=0)]
_M = TypeVar("_M", bound="Body")


class Body(BaseModel):
    """What every resource may be sent with; fields that are unknown are left alone."""

    model_config = ConfigDict(extra="ignore")

    name: _Name | None = None
    description: _Text | None = None


class CollectionBody(Body):
    """A collection."""


class ExperimentBody(Body):
    """An experiment, to be created."""

    coord_frame: _Name
    num_hierarchy_levels: Annotated[int, Field(ge=1, le=32)] = 1
    hierarchy_method: Literal["anisotropic", "isotropic"] = "anisotropic"
    num_time_samples: Annotated[int, Field(ge=1, le=10**9)] = 1
    time_step: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None = 0
    time_step_unit: Literal["", "nanoseconds", "microseconds", "milliseconds", "seconds"] | None = (
        ""
    )


class ExperimentChange(Body):
    """What may be changed of an experiment."""

    num_hierarchy_levels: Annotated[int, Field(ge=1, le=32)] | None = None
    hierarchy_method: Literal["anisotropic", "isotropic"] | None = None


class ChannelBody(Body):
    """A channel, to be created."""

    type: Literal["image", "annotation"]
    datatype: Literal["uint8", "uint16", "uint64"]
    base_resolution: Literal[0] = 0
    default_time_sample: Literal[0] = 0
    sources: Annotated[list[_Name], Field(max_length=100)] = []
    related: Annotated[list[_Name], Field(max_length=100)] = []


class ChannelChange(Body):
    """What may be changed of a channel."""

    base_resolution: Literal[0] | None = None
    default_time_sample: Literal[0] | None = None
    sources: Annotated[list[_Name], Field(max_length=100)] | None = None
    related: Annotated[list[_Name], Field(max_length=100)] | None = None
    public: bool | None = None


class FrameBody(Body):
    """A coordinate frame; voxels are counted from 0."""

    x_start: _Start = 0
    y_start: _Start = 0
    z_start: _Start = 0
    x_stop: _Stop
    y_stop: _Stop
    z_stop: _Stop
    x_voxel_size: _Size = 1
    y_voxel_size: _Size = 1
    z_voxel_size: _Size = 1
    voxel_unit: Literal["nanometers", "micrometers", "millimeters", "centimeters"] = "nanometers"

    @property
    def frame(self) -> Frame:
        """The same, as layers have it."""
        return Frame(
            (self.z_stop, self.y_stop, self.x_stop),
            (self.z_voxel_size, self.y_voxel_size, self.x_voxel_size),
            self.voxel_unit,
        )

    @model_validator(mode="after")
    def _fits(self) -> "FrameBody":
        if self.x_stop * self.y_stop * self.z_stop > 2**50:
            raise ValueError("more than 2**50 voxels")
        return self


def read_body(model: type[_M], data: bytes, name: str) -> _M:
    """Return a body of JSON.

    Raises
    ------
    InputError
        Not JSON, not what is expected, or of another name than the address.
    """
    try:
        found = model.model_validate(_object(data))
    except ValidationError as error:
        faults = (f"{_where(f)}: {f['msg']}" for f in error.errors()[:5])
        raise InputError("; ".join(faults)[:500]) from error
    if found.name not in (None, name):
        raise InputError(f"name {str(found.name)[:80]!r}: the address says {name[:80]!r}")
    return found


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MOST_BODY:
        raise TooLarge(f"a body of {len(data)} bytes: expected {MOST_BODY} at most")
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise InputError("a body that is not JSON") from error
    if not isinstance(found, dict):
        raise InputError("a body that is no JSON object")
    # Half a character is none that can be written down.
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except ValueError as error:
        raise InputError("a body that is not text") from error
    return found


def _where(fault: Any) -> str:  # noqa: ANN401 - pydantic's own
    return ".".join(map(str, fault["loc"])) or "body"
