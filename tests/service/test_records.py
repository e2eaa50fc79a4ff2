"""The record of a layer over HTTP: read, changed under a condition, and described by a schema."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import yaml
import zarr

import microtome
from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.store.record_changes import change_record, history
from microtome_core.store.record_template import template
from microtome_service.auth import records
from microtome_service.auth.database import Database
from microtome_service.auth.roles import Role
from tests.sensorium_folders import Mouse, write_folder

NEW = NewLayer(
    "czyx",
    (2, 3, 4, 5),
    "uint16",
    (1.0, 2.0, 0.5, 0.25),
    (None, "micrometer", "micrometer", "micrometer"),
    kind="image",
    channels=("EGFP", "DAPI"),
)


@dataclass(frozen=True, slots=True)
class Desk:
    """A service, its store, and what a writer and a reader send."""

    store: Store
    call: httpx.Client
    writer: dict[str, str]
    reader: dict[str, str]
    layer: LayerId

    @property
    def record(self) -> str:
        """The address of the record."""
        return f"/api/datasets/{self.layer}/record"

    def patch(self, given: Any, **headers: str) -> httpx.Response:  # noqa: ANN401 - JSON
        """Change the record as a writer."""
        sent = {"content-type": "application/merge-patch+json", **self.writer}
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call.patch(self.record, content=body, headers=sent | more)


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, run_server: Callable[..., Any]
) -> Iterator[Callable[[str], Desk]]:
    """A service, and what makes a layer of two channels in it, by name."""
    folder = tmp_path_factory.mktemp("records")
    url = f"sqlite:///{folder / 'access.sqlite'}"
    with Database(url) as database:
        database.upgrade()
        with database.write() as connection:
            writer, reader = (
                {"authorization": f"Bearer {key}"}
                for role in (Role.WRITER, Role.READER)
                for key in (records.create_key(connection, role.word, role, "demo/mouse", None)[1],)
            )
    (folder / "root").mkdir()
    store = Store(f"file://{folder}/root")

    def desk(name: str) -> Desk:
        layer = LayerId("demo", "mouse", name)
        create_layer(store, layer, NEW)
        return Desk(store, call, writer, reader, layer)

    with (
        run_server(store, database_url=url, recheck_seconds=0) as address,
        httpx.Client(base_url=address) as call,
    ):
        yield desk


@pytest.fixture
def desk(house: Callable[[str], Desk], request: pytest.FixtureRequest) -> Desk:
    """A layer that no other test changes."""
    return house(f"brain{sha256(request.node.name.encode()).hexdigest()[:8]}")


def test_a_change_is_seen_at_every_address(desk: Desk) -> None:
    """In the record, in the layer's JSON and in its OME-Zarr, under another version."""
    before = desk.call.get(desk.record)
    assert desk.call.get("/api/datasets?license=cc0-1.0").json()["total"] == 0
    answer = desk.patch({"subject": {"age": "P90D"}, "license": "cc0-1.0"})
    assert answer.status_code == 200
    assert answer.json()["changes"] == {
        "subject": [None, {"neurodata_type": "Subject", "age": "P90D"}],
        "license": [None, "CC0-1.0"],
    }
    after = desk.call.get(desk.record)
    assert after.json()["license"] == "CC0-1.0"
    assert after.headers["etag"] == answer.headers["etag"] != before.headers["etag"]
    layer = desk.call.get(f"/api/datasets/{desk.layer}").json()
    assert layer["attrs"] == after.json()
    version = answer.json()["record_version"]
    assert layer["record_version"] == version == after.headers["etag"].strip('"')
    assert layer["version"] == after.headers["x-microtome-version"]
    seen: Any = zarr.open_group(f"{desk.call.base_url}/zarr/{desk.layer}", mode="r").attrs["nwb"]
    assert seen == after.json()
    unchanged = desk.call.get(desk.record, headers={"if-none-match": after.headers["etag"]})
    assert unchanged.status_code == 304
    found = desk.call.get("/api/datasets?license=cc0-1.0").json()
    assert [each["id"] for each in found["datasets"]] == ["demo/mouse"]


def test_a_change_is_noted_with_who_asked(desk: Desk) -> None:
    """By the name of the key, and by the request."""
    desk.patch({"lab": "A"}, x_request_id="r-1")
    (note,) = history(desk.store, desk.layer)
    assert note["who"] == "key:writer"
    assert note["request_id"] == "r-1"
    assert note["changes"] == {"lab": [None, "A"]}


def test_a_condition_is_held_to(desk: Desk) -> None:
    """With the ETag of another version it is 412 and nothing changes; `*` is any."""
    tag = desk.call.get(desk.record).headers["etag"]
    change_record(desk.store, desk.layer, {"lab": "of another process"}, {"who": "other"})
    assert desk.patch({"lab": "A"}, if_match=tag).status_code == 412
    assert desk.call.get(desk.record).json()["lab"] == "of another process"
    tag = desk.call.get(desk.record).headers["etag"]
    assert desk.patch({"lab": "A"}, if_match=tag).status_code == 200
    assert desk.patch({"lab": "B"}, if_match="*").status_code == 200
    assert desk.patch({"lab": "C"}, if_match="none").status_code == 400


def test_what_is_open_reads_on_after_a_change(desk: Desk, tmp_path: Path) -> None:
    """Addresses, ETags and caches of voxels stay valid; the record is another one."""
    layer = replace(desk, layer=LayerId("demo", "mouse", "still"))
    voxels = np.arange(60, dtype="uint16").reshape(3, 4, 5)
    np.save(tmp_path / "a.npy", voxels)
    words = ["--as", str(layer.layer), "--axes", "zyx", "--voxel-size", "z=2,y=0.5,x=0.25"]
    assert main(["ingest", str(tmp_path / "a.npy"), str(desk.store.url), *words]) == 0
    url, cutout = f"{desk.call.base_url}/{layer.layer}", f"/api/datasets/{layer.layer}/cutout?z=0:3"
    opened: Any = microtome.open(url)
    microtome.open(url, cache=tmp_path / "cache")[:]
    assert (cached := set((tmp_path / "cache").iterdir()))
    before = desk.call.get(cutout)
    assert layer.patch({"lab": "A"}).status_code == 200
    np.testing.assert_array_equal(opened[1:], voxels[1:])
    after = desk.call.get(cutout, headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 304
    kept = desk.call.get(f"{cutout}&version={before.headers['x-microtome-version']}")
    assert (kept.status_code, kept.content) == (200, before.content)
    assert "immutable" in kept.headers["cache-control"]
    anew: Any = microtome.open(url, cache=tmp_path / "cache")
    np.testing.assert_array_equal(anew[:], voxels)
    assert set((tmp_path / "cache").iterdir()) == cached
    assert anew.info.version == opened.info.version
    assert anew.info.record_version != opened.info.record_version
    assert anew.info.attrs["lab"] == "A"


def test_an_open_recording_reads_on_after_a_change(desk: Desk, tmp_path: Path) -> None:
    """Its trials are those that they were."""
    layer = replace(desk, layer=LayerId("demo", "mouse", "reading"))
    folder = write_folder(tmp_path / "mouse", Mouse(trials=4, neurons=3))
    assert main(["ingest", str(folder), str(desk.store.url), "--as", str(layer.layer)]) == 0
    opened: Any = microtome.open(f"{desk.call.base_url}/{layer.layer}")
    before = opened.trials[1].videos
    assert layer.patch({"lab": "A"}).status_code == 200
    np.testing.assert_array_equal(opened.trials[1].videos, before)
    assert len(opened.responses(neuron=1)) == 2


def test_the_record_of_a_recording_is_one_too(desk: Desk, tmp_path: Path) -> None:
    """Read, changed under a condition and described by the same addresses; not of voxels."""
    layer = LayerId("demo", "mouse", "trials")
    folder = write_folder(tmp_path / "mouse", Mouse(trials=4, neurons=3))
    assert main(["ingest", str(folder), str(desk.store.url), "--as", str(layer)]) == 0
    trials = replace(desk, layer=layer)
    before = trials.call.get(trials.record)
    assert before.json()["kind"] == "recording"
    assert trials.patch({"lab": "A"}, if_match='"other"').status_code == 412
    answer = trials.patch({"lab": "A"}, if_match=before.headers["etag"])
    assert (answer.status_code, answer.json()["changes"]) == (200, {"lab": [None, "A"]})
    after = trials.call.get(trials.record)
    assert after.json() == {**before.json(), "lab": "A"}
    told = trials.call.get(f"/api/datasets/{layer}").json()
    assert (told["attrs"]["lab"], told["record_version"]) == ("A", answer.json()["record_version"])
    refused = trials.patch({"channels": []})
    assert (refused.status_code, "channels: is of voxels" in refused.text) == (400, True)
    (note,) = history(desk.store, layer)
    assert (note["who"], note["tool"]) == ("key:writer", "PATCH")
    known = jsonschema.Draft202012Validator(desk.call.get("/api/schema/record.json").json())
    known.validate(after.json())
    assert not known.is_valid({**after.json(), "kind": "other"})
    sent = {"content-type": "application/merge-patch+json", **desk.reader}
    assert desk.call.patch(trials.record, json={"lab": "B"}, headers=sent).status_code == 403


def test_only_those_who_may_write_change_it(desk: Desk) -> None:
    """A reader gets 403, somebody unknown 401."""
    sent = {"content-type": "application/json"}
    for headers, status in (({}, 401), (desk.reader, 403), (desk.writer, 200)):
        answer = desk.call.patch(desk.record, json={"lab": "A"}, headers=sent | headers)
        assert answer.status_code == status
    assert [note["who"] for note in history(desk.store, desk.layer)] == ["key:writer"]


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"subject": {"age": "90 days"}}, "subject.age: '90 days' is no ISO 8601 duration; write"),
        ({"speces": "mouse"}, "speces: is unknown; write subject.species"),
        ({"channels": [{"name": "GFP"}]}, "the layer has 'EGFP', 'DAPI'"),
        (b"[1]", "expected fields and values"),
        (b'{"lab": "A", "lab": "B"}', "'lab' stands twice"),
        (b'{"significant_bits": NaN}', "NaN is no number"),
        (b'{"lab": "A"', "not JSON"),
        (b'{"subject":' * 5000 + b"1" + b"}" * 5000, "nested"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_cannot_be_is_refused_in_words(desk: Desk, given: Any, detail: str) -> None:  # noqa: ANN401
    """As 400; nothing is changed, and nothing noted."""
    before = desk.call.get(desk.record).content
    answer = desk.patch(given)
    assert answer.status_code == 400
    assert detail in answer.json()["detail"]
    assert desk.call.get(desk.record).content == before
    assert history(desk.store, desk.layer) == []


def test_a_body_of_another_kind_or_size_is_refused(desk: Desk) -> None:
    """A picture is 415, a megabyte 413."""
    assert desk.patch({"lab": "A"}, content_type="image/png").status_code == 415
    assert desk.patch(b'{"lab": "' + b"A" * (1 << 20) + b'"}').status_code == 413


def test_the_schemas_are_those_of_records(desk: Desk) -> None:
    """A record is valid by the one, a filled template by the other, a misspelt one by neither."""
    known = jsonschema.Draft202012Validator(desk.call.get("/api/schema/record.json").json())
    known.validate(read_layer(desk.store, desk.layer).info.attrs)
    given = jsonschema.Draft202012Validator(desk.call.get("/api/schema/metadata.json").json())
    lines = template(str(desk.layer), read_layer(desk.store, desk.layer).info.attrs).splitlines()
    filled = "\n".join(line.removeprefix("#") for line in lines if not line.startswith("##"))
    told = yaml.load(filled, yaml.SafeLoader)
    told["significant_bits"] = 12
    given.validate(told)
    for wrong in ({"subjct": {}}, {"subject": {"age": "90 days"}}, {"subject": {"sex": "male"}}):
        assert not given.is_valid(wrong)
    assert desk.call.get("/api/schema/other.json").status_code == 422
