"""Registrations in the record of a layer: how it lies in named spaces; checked when written.

The matrix is no coordinateTransformation of OME-Zarr, whose version 0.5 has scale and translation
alone.
"""

from typing import Annotated

from pydantic import Field, ValidationInfo, model_validator

from microtome_core.space import read_registration
from microtome_core.store import record_checks as check
from microtome_core.store.record_checks import on_write
from microtome_core.store.record_objects import RecordModel, Text


class FieldOfDisplacements(RecordModel):
    """Where displacements lie, in micrometers along the axes of the space."""

    path: Annotated[str, Field(description="of the array, relative to the layer")]
    origin: Annotated[list[float], Field(description="place of the first node")]
    spacing: Annotated[list[float], Field(description="distance of nodes")]


class Registration(RecordModel):
    """How the layer lies in a named space."""

    space: Annotated[str, Field(description="short name, to ask for", examples=["ccf"])]
    title: Annotated[Text | None, Field(examples=["Allen CCFv3 2017"])] = None
    rrid: Annotated[
        Annotated[str, on_write(check.rrid)] | None, Field(examples=["RRID:SCR_020999"])
    ] = None
    orientation: Annotated[
        Text | None,
        Field(
            description="what each axis of the space points to, a letter an axis", examples=["PIR"]
        ),
    ] = None
    axes: Annotated[str, Field(description="order of the layer's coordinates in the matrix")] = (
        "zyx"
    )
    direction: Annotated[str, Field(examples=["layer-to-space"])] = "layer-to-space"
    affine: Annotated[
        list[list[float]], Field(description="homogeneous matrix, micrometers to micrometers")
    ]
    field: FieldOfDisplacements | None = None

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> "Registration":
        if info.context:
            read_registration(self.model_dump())
            if self.orientation is not None:
                _check_orientation(self.orientation, len(self.axes))
        return self


def _check_orientation(value: str, count: int) -> None:
    try:
        check.orientation(value, count)
    except ValueError as error:
        raise ValueError(f"orientation {error}") from error
