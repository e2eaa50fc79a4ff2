"""Which images an NWB file holds, what their axes are, and which lie elsewhere."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source, scenes
from tests.ingest.test_nwb import (
    PLANE,
    SERIES,
    VOXELS,
    Edit,
    described,
    saved,
    series,
    typed,
    whole,
)


def volume(kind: str, shape: tuple[int, ...], dimension: list[int] | None = None) -> Edit:
    """Return an edit that puts a series of a type and shape in place of the movie."""

    def edit(file: Any) -> None:  # noqa: ANN401
        del file[SERIES]
        found = series(file, SERIES, kind, np.ones(shape, "uint8"))
        if dimension:
            found["dimension"] = np.array(dimension, "int32")

    return edit


@pytest.mark.parametrize(
    ("kind", "shape", "dimension", "axes", "note"),
    [
        ("ImageSeries", (4, 6, 5), None, "txy", "--axes tyx"),
        ("OnePhotonSeries", (4, 6, 5, 3), None, "txyz", "if it is colour"),
        ("ImageMaskSeries", (4, 6, 5, 9), None, "txyz", "--axes tyxz"),
        ("OpticalSeries", (4, 6, 5, 3), None, "txys", "--axes tyxs"),
        ("ImageSeries", (4, 6, 5), [6, 5], "txy", "--axes tyx"),
        ("ImageSeries", (4, 6, 5), [5, 6], "tyx", "tells that its axes are tyx"),
        ("ImageSeries", (4, 9, 6, 5), [5, 6, 9], "tzyx", "tells that its axes are tzyx"),
        ("ImageSeries", (4, 6, 5), [7, 6], "txy", "is not that of its array"),
        ("ImageSeries", (6, 5), None, "qi", "no such ImageSeries"),
        ("ImageSeries", (2, 3, 4, 5, 6), None, "qijkl", "no such ImageSeries"),
    ],
)
def test_axes_are_those_of_the_schema(
    tmp_path: Path,
    kind: str,
    shape: tuple[int, ...],
    dimension: list[int] | None,
    axes: str,
    note: str,
) -> None:
    """Unless the file's own dimension tells otherwise x comes before y; a note says which."""
    found = described(saved(tmp_path, volume(kind, shape, dimension)))
    assert (found.axes, found.shape) == (axes, shape)
    assert any(note in text for text in found.notes)


def pictures(file: Any) -> None:  # noqa: ANN401
    """Add pictures, masks of cells and a corrected movie."""
    images = typed(file, "acquisition/pictures", "Images")
    for name, kind, shape in (
        ("grey", "GrayscaleImage", (7, 5)),
        ("rgb", "RGBImage", (7, 5, 3)),
        ("rgba", "RGBAImage", (7, 5, 4)),
    ):
        images[name] = np.full(shape, len(shape), "uint8")
        images[name].attrs.update({"neurodata_type": kind, "resolution": 5000.0})
    stack = typed(file, "processing/ophys/motion/stack", "CorrectedImageStack")
    series(stack, "corrected", "ImageSeries", VOXELS + 1)
    stack["original"] = h5py.SoftLink(f"/{SERIES}")
    typed(stack, "xy_translation", "TimeSeries")["data"] = np.zeros((12, 2))
    cells = typed(file, "processing/ophys/cells", "PlaneSegmentation")
    cells["image_mask"] = np.ones((3, 20, 16), "float32")
    cells["imaging_plane"] = h5py.SoftLink(PLANE)
    typed(file, "processing/ophys/traces", "RoiResponseSeries")["data"] = np.zeros((12, 3))


def test_every_image_of_a_file_is_a_scene(tmp_path: Path) -> None:
    """Movies, pictures and masks; not what else has two axes, and nothing twice by its links."""
    path = saved(tmp_path, pictures)
    assert [(scene.name, scene.axes, scene.shape) for scene in scenes(path)] == [
        ("/acquisition/movie", "txy", (12, 20, 16)),
        ("/acquisition/pictures/grey", "xy", (7, 5)),
        ("/acquisition/pictures/rgb", "xys", (7, 5, 3)),
        ("/acquisition/pictures/rgba", "xys", (7, 5, 4)),
        ("/processing/ophys/cells", "qxy", (3, 20, 16)),
        ("/processing/ophys/motion/stack/corrected", "txy", (12, 20, 16)),
    ]
    with pytest.raises(SourceError, match=r"--scene N.*0: /acquisition/movie"):
        open_source(path)
    np.testing.assert_array_equal(whole(open_source(path, 5)), VOXELS + 1)
    rgb = described(path, 2)
    assert (rgb.voxel_size, rgb.unit) == ({"x": 1 / 5000, "y": 1 / 5000}, "centimeter")
    masks = described(path, 4)
    assert (masks.voxel_size, masks.unit) == ({"x": 2.0, "y": 1.5}, "micrometer")
    assert masks.channels[0].name == "green"


def test_types_of_extensions_are_what_they_extend(tmp_path: Path) -> None:
    """The schemas in the file tell that a type is an image series; one they do not know is none."""

    def extended(file: Any) -> None:  # noqa: ANN401
        del file[SERIES]
        series(file, "acquisition/a", "MesoSeries")
        series(file, "acquisition/b", "Unknown")
        series(file, "acquisition/c", "Circle")
        spec = {
            "groups": [
                {"neurodata_type_def": "MesoSeries", "neurodata_type_inc": "WideSeries"},
                {"neurodata_type_def": "Circle", "neurodata_type_inc": "Circle"},
                {
                    "neurodata_type_def": "WideSeries",
                    "neurodata_type_inc": "OnePhotonSeries",
                    "groups": [{"name": "x", "neurodata_type_inc": "Device"}],
                },
            ]
        }
        file["specifications/ndx-meso/0.1.0/ndx-meso"] = json.dumps(spec)
        file["specifications/ndx-meso/0.1.0/namespace"] = "not looked at"

    assert [scene.name for scene in scenes(saved(tmp_path, extended))] == ["/acquisition/a"]


def films(file: Any) -> None:  # noqa: ANN401
    """Add series whose voxels are elsewhere."""
    film = series(file, "acquisition/film", "ImageSeries", np.zeros((0, 0, 0), "uint8"))
    film["external_file"] = np.array(["eye.avi", "body.avi"], h5py.string_dtype())
    film["format"] = "external"
    series(file, "acquisition/other", data=None)["data"] = h5py.ExternalLink("b.nwb", "/x")
    series(file, "acquisition/gap", data=None)["data"] = h5py.SoftLink("/nowhere")
    series(file, "acquisition/none", data=None)


def test_images_in_other_files_are_named_and_never_opened(tmp_path: Path) -> None:
    """Films, linked files and links to nothing are told: in notes, or in the error if all are."""
    found = described(saved(tmp_path, films))
    assert found.image == "/acquisition/movie"
    told = "\n".join(found.notes)
    assert "/acquisition/film has its frames in 'eye.avi', 'body.avi': ingest that" in told
    assert "/acquisition/other has its voxels in 'b.nwb': ingest that file" in told
    assert "/acquisition/gap holds no /nowhere" in told

    def no_movie(file: Any) -> None:  # noqa: ANN401
        del file[SERIES]

    path = saved(tmp_path, films, no_movie)
    for call in (open_source, scenes):
        with pytest.raises(SourceError, match=r"no images of its own: .*'eye\.avi'.*'b\.nwb'"):
            call(path)
    with pytest.raises(SourceError, match=r"no images of its own: it holds /file_create_date"):
        open_source(saved(tmp_path, no_movie))


def test_voxels_behind_a_link_in_the_file_are_read(tmp_path: Path) -> None:
    """Series may share their data."""

    def alone(file: Any) -> None:  # noqa: ANN401
        typed(file, "acquisition/twin", "ImageSeries")
        file["acquisition/twin/data"] = h5py.SoftLink(f"/{SERIES}/data")

    source = open_source(saved(tmp_path, alone), 1)
    assert source.description.image == "/acquisition/twin"
    np.testing.assert_array_equal(whole(source), VOXELS)
