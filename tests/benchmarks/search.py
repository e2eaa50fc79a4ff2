"""Searches over the records of ten thousand datasets, beside reading the records each time."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

import numpy as np
import urllib3

from microtome_core.levels import Level
from microtome_core.names import DatasetId
from microtome_core.store.array import ArraySpec, create_array
from microtome_core.store.layer import ensure_groups, publish_layer
from microtome_core.store.location import Store
from microtome_core.store.ome import Ome, multiscale, omero
from microtome_core.wire import Channel
from microtome_service.auth.database import Database, default_url
from microtome_service.auth.records import set_visibility
from tests.benchmarks.services import running
from tests.benchmarks.table import Row

COUNT = 10_000
TIMES = 200
# Of what a browser loads for one page of the catalog, without its pictures.
HEAVIEST = 300_000
_SCANS = 3
_WORDS = ("cortex", "striatum", "hippocampus", "thalamus", "axon", "soma", "vessel", "glia",
          "sparse", "dense", "cleared", "expanded", "sleep", "vision", "motor", "old")  # fmt: skip
_SPECIES = ("Mus musculus", "Rattus norvegicus", "Danio rerio", "Homo sapiens")
_TECHNIQUES = ("confocal", "light sheet", "two-photon", "X-ray microtomography")
_CHANNELS = ("EGFP", "tdTomato", "DAPI", "GCaMP6s", "mCherry")


QUERIES: Mapping[str, dict[str, str]] = {
    "everything, first page": {},
    "one word": {"q": "hippocampus"},
    "two words and a species": {"q": "cortex sparse", "species": "mouse"},
    "part of a name": {"q": "0077"},
    "technique, channel, size, by size": {
        "technique": "light sheet", "channel": "EGFP", "min_size": "200kB", "sort": "-size",
    },
    "a licence, with facets": {"license": "CC-BY-4.0", "facets": "true"},
    "everything, with facets": {"facets": "true"},
    "page 150": {"offset": "7450"},
    "nothing": {"q": "unobtainium"},
}  # fmt: skip

PAGES: Mapping[str, dict[str, str]] = {
    "first page": {},
    "page 300": {"offset": "7176"},
    "a word and a licence": {"q": "cortex", "license": "CC-BY-4.0"},
}


def measure(folder: Path) -> list[Row]:
    """Return the rate of each search over HTTP, on one connection, a tenth being private."""
    with _serving(folder) as (address, root):
        return [_row(what, query, address, root) for what, query in QUERIES.items()]


def measure_pages(folder: Path) -> list[Row]:
    """Return the rate of pages of the catalog of the same datasets."""
    with _serving(folder) as (address, _):
        return [_page_row(what, query, address) for what, query in PAGES.items()]


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, Path]]:
    root = (folder / "search").absolute()
    if not (root / ".whole").exists():
        _make(root)
    url = default_url(f"file://{root}") or ""
    with Database(url) as database:
        database.upgrade()
        with database.write() as connection:
            for number in range(0, COUNT, 10):
                set_visibility(connection, _name(number), False)
    command = [sys.executable, "-m", "microtome_cli"]
    subprocess.run([*command, "database", "reindex", str(root)], check=True)
    with running([*command, "serve", str(root), "--port"], {}) as address:
        yield address, root


def _page_row(what: str, query: dict[str, str], address: str) -> Row:
    """Return how many pages of the catalog there are a minute, beside the same search as JSON."""
    pool, words = urllib3.PoolManager(), urlencode(query)
    nbytes = _weight(pool, address, f"/?{words}")
    assert nbytes < HEAVIEST, f"{what}: {nbytes} bytes"
    pages = [_seconds(pool, f"{address}/?{words}") for _ in range(TIMES)]
    asked = urlencode({**query, "facets": "true", "limit": "24"})
    plain = [_seconds(pool, f"{address}/api/datasets?{asked}") for _ in range(TIMES)]
    p50, p99 = median(pages), quantiles(pages, n=100)[98]
    note = f"pages a minute; p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, {nbytes / 1e3:.0f} kB"
    return Row(f"catalog: {what}", 60 / p50, "the same as JSON", 60 / median(plain), None, note)


def _weight(pool: urllib3.PoolManager, address: str, path: str) -> int:
    """Return the bytes of a page with its style; these datasets have no voxels to be drawn."""
    body = pool.request("GET", f"{address}{path}").data
    found = re.findall(r'(?:src|href)="(/static/[^"]+)"', body.decode())
    parts = [pool.request("GET", f"{address}{unescape(each)}").data for each in set(found)]
    return len(body) + sum(map(len, parts))


def _row(what: str, query: dict[str, str], address: str, root: Path) -> Row:
    pool = urllib3.PoolManager()
    url = f"{address}/api/datasets?{urlencode(query)}"
    told = [_seconds(pool, url) for _ in range(TIMES)]
    scans = []
    for _ in range(_SCANS):
        start = time.perf_counter()
        count = _scan(root, query)
        scans.append(time.perf_counter() - start)
    total = json.loads(pool.request("GET", url).data)["total"]
    # A scan does not know who may see what.
    assert total <= count, f"{what}: {total} found, {count} by reading records"
    p50, p99 = median(told), quantiles(told, n=100)[98]
    note = f"searches a minute; p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, {total} found"
    rates = [60 / seconds for seconds in (p50, median(scans))]
    return Row(f"search: {what}", rates[0], "reading every record", rates[1], None, note)


def _seconds(pool: urllib3.PoolManager, url: str) -> float:
    start = time.perf_counter()
    answer = pool.request("GET", url)
    assert answer.status == 200, answer.data
    return time.perf_counter() - start


def _scan(root: Path, query: Mapping[str, str]) -> int:
    """Count the datasets that fit by reading each record."""
    count = 0
    for number in range(COUNT):
        path = root / _name(number) / "image/zarr.json"
        text = path.read_text().casefold()
        record = json.loads(text)["attributes"]["nwb"]
        held = f"{_name(number)} {text} mouse" if "mus musculus" in text else _name(number) + text
        count += all(word in held for word in query.get("q", "").split()) and _fits(record, query)
    return count


def _fits(record: Any, query: Mapping[str, str]) -> bool:  # noqa: ANN401 - JSON
    told = {
        "species": record["subject"]["species"].replace("mus musculus", "mouse"),
        "technique": record["microscopy_rig"]["microscope"]["technique"],
        "channel": record["channels"][0]["name"],
        "license": record["license"],
    }
    return all(told[name] == query[name].casefold() for name in told if name in query)


def _name(number: int) -> str:
    return f"lab{number % 50:02d}/brain{number:05d}"


def _make(root: Path) -> None:
    """Write one layer as an ingest would, and its metadata with other records all over."""
    store = Store(f"file://{root}")
    draw = Random(7)
    for number in range(COUNT):
        path = f"{_name(number)}/image"
        voxels = np.zeros((4, 64 * 2 ** (number % 5), 64), "uint16")
        if number < 5:
            spec = ArraySpec("zyx", voxels.shape, (4, 64, 64), (4, 64, 64), "uint16")
            create_array(store, f"{path}/0", spec)
        else:
            array = (root / _name(number % 5) / "image/0/zarr.json").read_bytes()
            store.write(f"{path}/0/zarr.json", array)
        ensure_groups(store, DatasetId(*_name(number).split("/")))
        publish_layer(store, path, _attributes(voxels.shape, draw))
    (root / ".whole").touch()


def _attributes(shape: tuple[int, ...], draw: Random) -> dict[str, Any]:
    channel = draw.choice(_CHANNELS)
    levels = [Level((1, 1, 1), shape, (1.0, 0.4, 0.4))]
    scales = multiscale("image", "zyx", ["micrometer"] * 3, levels, "mean")
    shown = omero([Channel(channel, "00FF00", (0, 4000))], 0, 65535)
    record = {
        "schema_id": "microtome-record/2",
        "session_description": " ".join(draw.choices(_WORDS, k=12)),
        "keywords": draw.sample(_WORDS, 3),
        "subject": {
            "subject_id": f"animal-{draw.randrange(3000)}",
            "species": draw.choices(_SPECIES, (8, 3, 2, 1))[0],
            "sex": draw.choice("MF"),
        },
        "microscopy_rig": {"microscope": {"technique": draw.choice(_TECHNIQUES)}},
        "channels": [{"name": channel}],
        "license": draw.choice(("CC-BY-4.0", "CC0-1.0")),
        "source_files": [{"name": f"{draw.randrange(10**9)}.czi", "size": 1}],
        # Most of a real record is copied from its source, and is not searched.
        "original_metadata": {"CZI": {f"field {i}": draw.random() for i in range(100)}},
    }
    return {"ome": Ome(multiscales=[scales], omero=shown).to_json(), "nwb": record}
