"""OME-Zarr 0.5 attributes as validated models.

Source: https://ngff.openmicroscopy.org/0.5 ("multiscales", "omero", "labels", "image-label").
Field names are the format's. What is written is strict; what is read may hold more than we know.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from microtome_core.axes import ORDER, TYPES
from microtome_core.levels import Level
from microtome_core.wire import Channel


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class Axis(_Model):
    """One dimension, by its one-letter name."""

    name: str
    type: Literal["time", "channel", "space"]
    unit: str | None = None


class Scale(_Model):
    """Voxel size, one number an axis."""

    type: Literal["scale"] = "scale"
    scale: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]


class Translation(_Model):
    """Centre of the first voxel, one number an axis."""

    type: Literal["translation"] = "translation"
    translation: list[Annotated[float, Field(allow_inf_nan=False)]]


class Identity(_Model):
    """Nothing is changed."""

    type: Literal["identity"]


class Dataset(_Model):
    """One level: its path, then exactly one scale and at most one translation."""

    path: str
    coordinateTransformations: Annotated[  # noqa: N815 - the format's name
        list[Annotated[Scale | Translation, Field(discriminator="type")]],
        Field(min_length=1, max_length=2),
    ]

    @model_validator(mode="after")
    def _scale_first(self) -> "Dataset":
        kinds = [t.type for t in self.coordinateTransformations]
        if kinds not in (["scale"], ["scale", "translation"]):
            raise ValueError(
                f"transformations {kinds}: expected a scale, then at most a translation"
            )
        return self

    @property
    def scale(self) -> tuple[float, ...]:
        """Voxel size in array order."""
        return next(tuple(t.scale) for t in self.coordinateTransformations if isinstance(t, Scale))

    @property
    def translation(self) -> tuple[float, ...]:
        """Centre of the first voxel in array order; zeros where the file is silent."""
        for transformation in self.coordinateTransformations:
            if isinstance(transformation, Translation):
                return tuple(transformation.translation)
        return (0.0,) * len(self.scale)


class Multiscale(_Model):
    """The pyramid, largest level first; transformations of its own come after those of a level."""

    name: str | None = None
    type: str | None = None
    axes: Annotated[list[Axis], Field(min_length=2, max_length=5)]
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    coordinateTransformations: (  # noqa: N815 - the format's name
        list[Annotated[Identity | Scale | Translation, Field(discriminator="type")]] | None
    ) = None
    metadata: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _axes_in_order(self) -> "Multiscale":
        letters = "".join(axis.name for axis in self.axes)
        if letters != "".join(a for a in ORDER if a in letters):
            raise ValueError(f"axes {letters!r}: expected letters of {ORDER!r} in that order")
        return self

    def place(self, dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return a level's voxel size and the centre of its first voxel, in array order.

        Raises
        ------
        ValueError
            Transformations of different ranks.
        """
        size, centre = dataset.scale, dataset.translation
        for step in self.coordinateTransformations or ():
            if isinstance(step, Scale):
                size, centre = _product(size, step.scale), _product(centre, step.scale)
            elif isinstance(step, Translation):
                pairs = zip(centre, step.translation, strict=True)
                centre = tuple(a + b for a, b in pairs)
        return size, centre


class Window(_Model):
    """Contrast: what is possible, and what is shown."""

    min: float
    max: float
    start: float
    end: float


class OmeroChannel(_Model):
    """How a viewer shows a channel."""

    label: str = ""
    color: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$")]
    window: Window
    active: bool = True


class Omero(_Model):
    """Rendering settings."""

    channels: list[OmeroChannel]


class LabelSource(_Model):
    """Where the image of a label image lies, relative to it."""

    image: str = "../../"


class ImageLabel(_Model):
    """Says that an image's voxels are the ids of objects."""

    version: Literal["0.5"] = "0.5"
    source: LabelSource | None = None


class Ome(_Model):
    """The value of the attribute ``ome`` of a layer's group."""

    version: Literal["0.5"] = "0.5"
    multiscales: Annotated[list[Multiscale], Field(min_length=1)]
    omero: Omero | None = None
    image_label: Annotated[ImageLabel | None, Field(alias="image-label")] = None

    def to_json(self) -> dict[str, Any]:
        """Return what goes into ``zarr.json``."""
        return self.model_dump(by_alias=True, exclude_none=True)


def multiscale(
    name: str,
    axes: str,
    units: Sequence[str | None],
    levels: Sequence[Level],
    method: Literal["mean", "mode"],
    prefix: str = "",
) -> Multiscale:
    """Describe a pyramid whose levels lie in the folders ``0``, ``1``, … below `prefix`.

    Parameters
    ----------
    axes, units : sequences in array order
    levels : sequence of Level
        Finest first.
    method : str
        How a voxel was made of those below it.
    prefix : str
        Empty, or a folder and a slash.
    """
    described = zip(axes, units, strict=True)
    return Multiscale(
        name=name,
        type=method,
        axes=[Axis.model_validate({"name": a, "type": TYPES[a], "unit": u}) for a, u in described],
        datasets=[
            Dataset(
                path=f"{prefix}{index}",
                coordinateTransformations=[
                    Scale(scale=list(level.scale)),
                    Translation(translation=list(level.translation)),
                ],
            )
            for index, level in enumerate(levels)
        ],
        metadata={
            "description": f"each voxel is the {method} of those that it covers one level below",
            "method": "tensorstore.downsample",
            "kwargs": {"method": method},
        },
    )


def omero(channels: Sequence[Channel], lowest: float, highest: float) -> Omero:
    """Describe how channels are shown; `lowest` and `highest` are the values that can occur."""
    return Omero(
        channels=[
            OmeroChannel(
                label=channel.name,
                color=channel.color,
                window=Window(
                    min=lowest, max=highest, start=channel.window[0], end=channel.window[1]
                ),
            )
            for channel in channels
        ]
    )


def _product(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a * b for a, b in zip(one, other, strict=True))
