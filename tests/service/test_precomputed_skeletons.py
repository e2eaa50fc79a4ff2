"""SWC files as skeletons and annotations of Neuroglancer."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.store.location import Store
from microtome_service.auth.database import Database
from microtome_service.auth.records import set_visibility

URL = "/precomputed/demo/traced/annotations"
TREE = "1 1 0.5 0 0 5 -1\n2 3 1 2 3 1 1\n5 2 7 8 9 0.5 2\n"
Traced = Callable[..., Any]


@pytest.fixture
def traced(disk_store: Store, connect: Callable[..., Any], tmp_path: Path) -> Traced:
    """What stores SWC text as demo/traced/cell and returns a caller of its service."""

    def trace(text: str, *words: str) -> Any:  # noqa: ANN401 - a caller
        (tmp_path / "a.swc").write_text(text)
        options = [disk_store.url, "--as", "demo/traced/cell", *(words or ("--unit", "um"))]
        assert main(["ingest", str(tmp_path / "a.swc"), *options]) == 0
        return connect(disk_store)

    return trace


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1000.0), ("nm", 1.0), ("mm", 1e6), ("pixel", 1.0)]
)
def test_a_skeleton_is_in_nm(traced: Traced, unit: str, factor: float) -> None:
    """Vertices and radii; where nobody knows the unit, 1 is taken for 1 nm, as with layers."""
    app = traced(TREE, "--unit", unit)
    body = app.get(f"{URL}/cell/skeletons/1").content
    assert struct.unpack_from("<II", body) == (3, 2)
    numbers = np.frombuffer(body, "<f4", 9, 8).reshape(3, 3)
    assert np.allclose(numbers, np.array([[0.5, 0, 0], [1, 2, 3], [7, 8, 9]]) * factor)
    assert struct.unpack_from("<4I", body, 44) == (1, 0, 2, 1)
    assert np.allclose(np.frombuffer(body, "<f4", 3, 60), np.array([5, 1, 0.5]) * factor)
    assert body[72:] == bytes([1, 3, 2])
    meters = app.get(f"{URL}/cell/points/info").json()["dimensions"]["x"]
    assert meters == [pytest.approx(factor * 1e-9), "m"]


def test_types_beyond_a_byte_are_kept(traced: Traced) -> None:
    """The attribute and the property take the type that holds them."""
    app = traced("1 1000 0 0 0 1 -1\n2 -3 0 0 0 1 1\n")
    info = app.get(f"{URL}/cell/skeletons/info").json()
    assert info["vertex_attributes"][1]["data_type"] == "int32"
    assert app.get(f"{URL}/cell/skeletons/1").content[-8:] == struct.pack("<ii", 1000, -3)
    properties = app.get(f"{URL}/cell/points/info").json()["properties"]
    assert [one["type"] for one in properties] == ["float32", "int32"]
    assert app.get(f"{URL}/cell/points/by_id/1").content == struct.pack("<4fi", 0, 0, 0, 1, 1000)


def test_a_cell_has_a_size_even_where_the_file_has_none(traced: Traced) -> None:
    """A single node still has bounds of whole numbers with a size, which viewers demand."""
    app = traced("7 1 1.5 2 -3 1 -1\n")
    for kind, count in (("points", 1), ("lines", 0)):
        info = app.get(f"{URL}/cell/{kind}/info").json()
        assert (info["lower_bound"], info["upper_bound"]) == ([1, 2, -3], [2, 3, -2])
        level = info["spatial"][0]
        assert (level["chunk_size"], level["grid_shape"]) == ([1, 1, 1], [1, 1, 1])
        assert level["limit"] == 1
        body = app.get(f"{URL}/cell/{kind}/{level['key']}/0_0_0").content
        assert struct.unpack_from("<Q", body)[0] == count


def test_negative_numbers_of_nodes_make_ids_by_place(traced: Traced) -> None:
    """Ids are unsigned: where the file's are not, they count from 1 on."""
    app = traced("-5 1 0 0 0 1 -1\n3 1 4 5 6 1 -5\n")
    assert app.get(f"{URL}/cell/points/by_id/2").content[:12] == struct.pack("<3f", 4, 5, 6)
    assert app.get(f"{URL}/cell/points/by_id/3").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["absent/skeletons/info", "cell/skeletons/2", "cell/skeletons/01", "cell/skeletons/1.gz",
     "cell/points/by_id/4", "cell/points/by_id/-1", "cell/points/by_id/1e0",
     "cell/points/by_id/01", f"cell/points/by_id/{'9' * 5000}", "cell/points/by_id/%D9%A1",
     f"cell/points/by_id/{2**64}", "cell/lines/by_id/1", "cell/points/spatial0/0_0_1",
     "cell/points/spatial1/0_0_0", "cell/info", "cell", "cell/meshes/info", "%00/skeletons/info",
     "..%2F..%2Fcell/skeletons/info", "cell/skeletons/info?x=1", "Cell/skeletons/info",
     "cell/points/by_id/%00", "cell.swc/skeletons/1", "cell/segment_properties/info"],
)  # fmt: skip
def test_what_is_no_file_of_an_annotation_is_4xx(traced: Traced, path: str) -> None:
    """Nothing else is answered, and storage is left alone."""
    app = traced(TREE)
    for method in ("GET", "HEAD"):
        assert app(method, f"{URL}/{path}").status_code in (400, 404, 422)


def test_what_the_caller_has_is_not_sent_again(traced: Traced) -> None:
    """ETags differ between files and change with the annotation; HEAD sends no body."""
    app = traced(TREE)
    files = ["skeletons/info", "skeletons/1", "skeletons/segment_properties/info", "points/info",
             "points/spatial0/0_0_0", "lines/spatial0/0_0_0", "points/by_id/1"]  # fmt: skip
    tags = set()
    for file in files:
        answer = app.get(f"{URL}/cell/{file}")
        tags.add(answer.headers["etag"])
        given = {"If-None-Match": answer.headers["etag"]}
        assert app.get(f"{URL}/cell/{file}", headers=given).status_code == 304
        head = app("HEAD", f"{URL}/cell/{file}")
        assert head.content == b""
        assert head.headers["content-length"] == str(len(answer.content))
    assert len(tags) == len(files)
    again = traced(TREE.replace("0.5 0 0", "9 0 0"), "--unit", "um", "--restart")
    for file in ("skeletons/1", "points/spatial0/0_0_0"):
        assert again.get(f"{URL}/cell/{file}").headers["etag"] not in tags


def test_a_file_that_was_changed_is_503(traced: Traced, disk_store: Store) -> None:
    """It is not what was written: nothing of it is sent."""
    app = traced(TREE)
    path = Path(disk_store.url.removeprefix("file://")) / "demo/traced/annotations/cell.swc"
    path.write_text(TREE.replace("7 8 9", "7 8 8"))
    answer = app.get(f"{URL}/cell/skeletons/1")
    assert (answer.status_code, answer.json()["error"]) == (503, "StorageError")
    assert "annotation demo/traced/cell" in answer.json()["detail"]


def test_a_dataset_names_its_annotations(traced: Traced) -> None:
    """Its JSON leads to every folder of each; the folders are those of Neuroglancer's format."""
    app = traced(TREE)
    listed = app.get("/api/datasets").json()["datasets"][0]["annotations"]
    [one] = app.get("/api/datasets/demo/traced").json()["annotations"]
    assert (listed, one["name"]) == ([one], "cell")
    kinds = [app.get(f"{one[kind]}/info").json()["@type"] for kind in ("skeletons", "points")]
    assert kinds == ["neuroglancer_skeletons", "neuroglancer_annotations_v1"]
    assert app.get(f"{one['lines']}/info").json()["annotation_type"] == "LINE"


def test_annotations_of_a_private_dataset_are_absent(
    traced: Traced, disk_store: Store, connect: Callable[..., Any], tmp_path: Path
) -> None:
    """Whoever may not see the dataset is told what is told of annotations that are not there."""
    traced(TREE)
    url = f"sqlite:///{tmp_path / 'access.sqlite'}"
    with Database(url) as database:
        database.upgrade()
        with database.write() as connection:
            set_visibility(connection, "demo/traced", False)
    app = connect(disk_store, database_url=url)
    for file in ("skeletons/info", "skeletons/1", "points/info", "lines/by_id/2"):
        hidden = app.get(f"{URL}/cell/{file}")
        absent = app.get(f"{URL.replace('traced', 'absent')}/cell/{file}")
        assert (hidden.status_code, absent.status_code) == (404, 404)
        assert hidden.json()["detail"] == "no annotation demo/traced/cell"
        assert hidden.text == absent.text.replace("absent", "traced")
    assert app.get("/api/datasets").json()["datasets"] == []
