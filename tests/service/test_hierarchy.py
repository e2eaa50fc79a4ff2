"""What is visible of a store: groups that name what lies below them, and nothing else at all."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.names import LayerId
from microtome_core.store.layer import labels_path, publish_layer
from microtome_core.store.location import Store
from microtome_service.errors import Unreadable

NEURONS = "/zarr/demo/brain/neurons"
SHARD = f"{NEURONS}/0/c/0/0/0"


def test_groups_name_all_that_is_visible_below_them(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """Root, collection, dataset, layer and labels hold the metadata of what lies below, as
    zarr-python writes it; a layer without its metadata is not there.
    """
    builder = make_builder(service_store)
    builder.layer("demo/brain/neurons", "yx", make_ramp((20, 30), "uint8"))
    builder.layer("demo/brain/cells", "yx", make_ramp((20, 30), "uint16"), labels_of="neurons")
    builder.layer("demo/other/hidden", "yx", make_ramp((20, 30), "uint8"))
    service_store.remove("demo/other/hidden/zarr.json")
    call = connect(service_store)
    inner = ["neurons", "neurons/0", "neurons/labels", "neurons/labels/cells",
             "neurons/labels/cells/0"]  # fmt: skip
    brain = ["brain", *(f"brain/{name}" for name in inner)]
    demo = ["demo", *(f"demo/{name}" for name in [*brain, "other"])]
    expected = {
        "": demo,
        "/demo": [*brain, "other"],
        "/demo/brain": inner,
        "/demo/other": [],
        "/demo/brain/neurons": ["0", "labels", "labels/cells", "labels/cells/0"],
        "/demo/brain/neurons/labels": ["cells", "cells/0"],
        "/demo/brain/neurons/labels/cells": ["0"],
    }
    for path, members in expected.items():
        group = call.get(f"/zarr{path}/zarr.json").json()
        assert group["node_type"] == "group"
        inline = group["consolidated_metadata"]
        assert (inline["kind"], inline["must_understand"]) == ("inline", False)
        assert sorted(inline["metadata"]) == members, path
        for member, metadata in inline["metadata"].items():
            document = call.get(f"/zarr{path}/{member}/zarr.json").json()
            document.pop("consolidated_metadata", None)
            assert metadata == document, (path, member)
    labels = call.get("/zarr/demo/brain/neurons/labels/zarr.json").json()
    assert labels["attributes"]["ome"]["labels"] == ["cells"]
    assert call.get("/zarr/demo/other/hidden/0/zarr.json").status_code == 404


def test_labels_that_cannot_be_seen_are_not_listed(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """While labels are replaced, they are listed in storage but hidden."""
    builder = make_builder(service_store)
    builder.layer("demo/brain/neurons", "yx", make_ramp((20, 30), "uint8"))
    for name in ("cells", "nuclei"):
        builder.layer(
            f"demo/brain/{name}", "yx", make_ramp((20, 30), "uint16"), labels_of="neurons"
        )
    folder = labels_path(LayerId("demo", "brain", "neurons"), "cells")
    publish_layer(service_store, folder, {})
    call = connect(service_store)
    labels = call.get(f"{NEURONS}/labels/zarr.json").json()
    assert labels["attributes"]["ome"]["labels"] == ["nuclei"]
    assert call.get(f"{NEURONS}/labels/cells/0/c/0/0").status_code == 404
    assert call.get(f"{NEURONS}/labels/nuclei/0/c/0/0").status_code == 200


SECRET = b"SECRET BYTES"
HOSTILE = [
    "", "/", "zarr", "..", ".", "../", "../secret", "..%2fsecret", "%2e%2e/secret",
    "%2e%2e%2fsecret", "%252e%252e%252fsecret", "demo/../../secret",
    "demo/brain/neurons/../../../../secret",
    "demo/brain/neurons/0/..%2f..%2f..%2f..%2f..%2fsecret",
    "demo/brain/neurons/0/c/../../../neurons/0/c/0/0/0", "..%5csecret", "demo%00", "%00",
    "demo/brain/neurons/0/c/0/0/0%00", "demo/brain/neurons%00/zarr.json", "%ff%fe",
    "demo/%c0%ae%c0%ae", "//etc/passwd", "/etc/passwd", "file:///etc/passwd", "~root",
    "C:/windows", "demo/brain/neurons/0", "demo/brain/neurons/0/", "demo/brain/neurons",
    "demo/brain/neurons/", "demo/brain/neurons/0/c", "demo/brain/neurons/0/c/",
    "demo/brain/neurons/0/c/0", "demo/brain/neurons/0/c/0/0", "demo/brain/neurons/0/c/0/0/0/",
    "demo/brain/neurons/0/c/0/0/0/0", "demo/brain/neurons/0/c/0/0/-1",
    "demo/brain/neurons/0/c/0/0/+0", "demo/brain/neurons/0/c/0/0/00",
    "demo/brain/neurons/0/c/0/0/0x0", "demo/brain/neurons/0/c/0/0/ 0",
    "demo/brain/neurons/0/c/0/0/٠", "demo/brain/neurons/0/c/0/0/1e0",
    "demo/brain/neurons/0/c/0/0/" + "9" * 5000, "demo/brain/neurons/0/c/0/0/99",
    "demo/brain/neurons/0/c/" + "0/" * 3000 + "0", "demo/brain/neurons/0/C/0/0/0",
    "demo/brain/neurons/0/c.0.0.0", "demo/brain/neurons/0/0.0.0", "demo/brain/neurons/00/c/0/0/0",
    "demo/brain/neurons//0/c/0/0/0", "demo//brain/neurons/zarr.json",
    "demo/brain/neurons/2/zarr.json", "demo/brain/neurons/0/zarr.json/",
    "demo/brain/neurons/zarr.json/", "demo/brain/neurons/0/ledger",
    "demo/brain/neurons/0/ledger/job.json", "demo/brain/neurons/0/ledger/empty.json",
    "demo/brain/annotations/secret.swc", "demo/brain/neurons/0/.zarray",
    "demo/brain/neurons/.zgroup", "demo/brain/neurons/.zattrs", "demo/brain/neurons/0/.secret",
    "demo/brain/neurons/0/c/0/0/.0.partial", "demo/brain/.zmetadata",
    "demo/brain/neurons/0/c/0/0/0.__lock", "demo/brain/neurons/zarr.json.__lock",
    "demo/brain/neurons/secret", "demo/brain/secret", "demo/secret", "secret", "secret/zarr.json",
    "demo/brain/neurons/xarray", "demo/brain/neurons/xarray/zarr.json",
    "demo/brain/neurons/xarray/7/zarr.json", "demo/brain/neurons/xarray/00/zarr.json",
    "demo/brain/neurons/xarray/-1/zarr.json", "demo/brain/neurons/xarray/0/w/zarr.json",
    "demo/brain/neurons/xarray/0/z/c/1", "demo/brain/neurons/xarray/0/zyx/c/0",
    "demo/brain/neurons/xarray/0/image/c/9/9/9", "demo/brain/neurons/xarray/0/image/../../secret",
    "demo/brain/neurons/xarray/" + "9" * 5000 + "/zarr.json", "demo/brain/neurons/xarray/0",
    "demo/brain/hidden/zarr.json", "demo/brain/hidden/0/zarr.json", "demo/brain/hidden/0/c/0/0/0",
    "demo/brain/neurons/labels/zarr.json", "demo/brain/neurons/labels/neurons/zarr.json",
    "demo/brain/neurons/labels/hidden/zarr.json", "demo/brain/neurons/labels/../hidden/zarr.json",
    "DEMO/brain/neurons/zarr.json", "demo/brain/neurons\n/zarr.json", "demo/brain/🧠/zarr.json",
    "demo/brain/" + "n" * 60000 + "/zarr.json", "a/" * 20000 + "zarr.json", "é" * 5000,
    "demo/brain/neurons/v2/zarr.json", "demo/brain/neurons/v1/0/zarr.json",
]  # fmt: skip


HIDDEN = [
    "../secret", "secret", "demo/secret", "demo/brain/secret", "demo/brain/neurons/secret",
    "demo/brain/neurons/0/.secret", "demo/brain/neurons/0/ledger/job.json",
    "demo/brain/neurons/0/ledger/empty.json", "demo/brain/annotations/secret.swc",
    "demo/brain/neurons/0/c/0/0/.0.partial", "demo/brain/neurons/0/c/0/0/0.__lock",
    "demo/brain/neurons/v1/0/zarr.json",
]  # fmt: skip


def ask(address: str, method: bytes, target: bytes) -> tuple[int, bytes]:
    """Send a path as it is, as no client would that means well; return status and body."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"%b %b HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" % (method, target)
        )
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_nothing_else_is_there(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    run_server: Callable[..., Any],
) -> None:
    """Whatever is asked for beside what is visible, in whatever words: 404, never an error of the
    service and never a byte of anything else.
    """
    builder = make_builder(disk_store)
    builder.layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"), levels=2)
    builder.layer("demo/brain/hidden", "zyx", make_ramp((10, 20, 30), "uint16"))
    disk_store.remove("demo/brain/hidden/zarr.json")
    root = Path(disk_store.url.removeprefix("file://"))
    for name in HIDDEN:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(SECRET)
    with run_server(disk_store, recheck_seconds=60.0) as address:
        assert ask(address, b"GET", SHARD.encode())[0] == 200
        for key in HOSTILE:
            target = b"/zarr/" + quote(key, safe="/%:~").encode()
            for method in (b"GET", b"HEAD"):
                status, body = ask(address, method, target)
                assert status in (400, 404), key[:200]
                assert SECRET not in body
                assert len(body) < 2000


def test_keys_of_other_writers_are_understood(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """Names of chunks with dots, of Zarr 2 or with a point between, are those of the array."""
    voxels = make_ramp((20, 30), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "yx", voxels)
    root = Path(disk_store.url.removeprefix("file://")) / "demo/brain/neurons"
    call = connect(disk_store)
    for encoding, there, gone in (
        ({"name": "v2", "separator": "."}, "1.2", "c/1/2"),
        ({"name": "v2", "separator": "/"}, "1/2", "1.2"),
        ({"name": "default", "separator": "."}, "c.1.2", "c/1/2"),
    ):
        array = zarr.create_array(
            str(root / "0"), shape=(20, 30), chunks=(8, 8), dtype="uint16", overwrite=True,
            chunk_key_encoding=encoding, dimension_names=("y", "x"),
        )  # fmt: skip
        array[...] = voxels
        publish_layer(
            disk_store, "demo/brain/neurons",
            {**json.loads((root / "zarr.json").read_text())["attributes"], "by": str(encoding)},
        )  # fmt: skip
        assert call.get(f"{NEURONS}/0/{there}").content == (root / "0" / there).read_bytes()
        assert call.get(f"{NEURONS}/0/{gone}").status_code == 404


def test_metadata_is_read_once_for_all_who_ask(
    volume: tuple[Any, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at one time wait for the same look at storage; one that failed is not believed."""
    service = volume[0].app.state.service
    reads: list[str] = []
    read = Store.read

    def counted(store: Store, path: str) -> bytes | None:
        reads.append(path)
        return read(store, path)

    def failing(_: Store, __: str) -> bytes | None:
        raise StorageError("gone")

    async def ask(count: int) -> None:
        layer = await service.catalog.layer(LayerId("demo", "brain", "neurons"))
        await asyncio.gather(*(service.hierarchy.files(layer) for _ in range(count)))

    layer = asyncio.run(service.catalog.layer(LayerId("demo", "brain", "neurons")))
    monkeypatch.setattr(Store, "read", failing)
    with pytest.raises(Unreadable):
        asyncio.run(service.hierarchy.files(layer))
    monkeypatch.setattr(Store, "read", counted)
    asyncio.run(ask(30))
    assert reads.count("demo/brain/neurons/0/zarr.json") == 1
