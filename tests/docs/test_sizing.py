"""The figures of the pages on sizes follow from what was measured, by the formulas beside them."""

import re
from math import ceil
from pathlib import Path

import pytest

from tests.deploy.manifests import kustomize, only, render

PAGES = Path(__file__).parents[2] / "docs/operating"
SIZING = (PAGES / "sizing.md").read_text()
CAPACITY = (PAGES / "capacity.md").read_text()
# Of those who ask: tiles and cutouts anywhere; chunks that each reads; what the cache holds.
SHARE = {"tile": 0.7, "cutout": 0.3}
READS = {"tile": 1, "cutout": 8}
HITS, FULL = 0.8, 0.6
MONTH = 30 * 86400
TERA = {"TB": 1, "PB": 1000}
GIB_A_CORE, DOLLARS_A_CORE, DOLLARS_A_TB, DOLLARS_A_READ = 4, 35, 23, 0.4e-6
STORED = 1.14 * 0.6


def table(text: str, first: str) -> list[list[str]]:
    """Return the cells of the table whose header begins so."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def number(cell: str) -> float:
    """Return the first number of a cell."""
    match = re.search(r"[\d,]+(\.\d+)?", cell)
    assert match, cell
    return float(match[0].replace(",", ""))


def measured() -> dict[str, tuple[float, float]]:
    """Return the milliseconds of a tile and of a cutout, from the cache and from storage."""
    rows = {row[0]: (float(row[2]), float(row[3])) for row in table(SIZING, "answer")}
    tile = next(ms for name, ms in rows.items() if name.startswith("tile"))
    return {"tile": tile, "cutout": rows["cutout of 64³ voxels, anywhere (8 chunks)"]}


def milliseconds(kind: str, hits: float = HITS) -> float:
    """Return what an answer takes on the average."""
    cached, cold = measured()[kind]
    return hits * cached + (1 - hits) * cold


def asked(rate: float, kept: float) -> dict[str, float]:
    """Return how many of each reach the service a second, where a proxy keeps a part of all."""
    return {"tile": rate * (SHARE["tile"] - kept), "cutout": rate * SHARE["cutout"]}


def cores(load: dict[str, float], hits: float = HITS) -> float:
    """Return the cores that a load takes."""
    return sum(n * milliseconds(kind, hits) for kind, n in load.items()) / 1000 / FULL


def reads(load: dict[str, float]) -> float:
    """Return the reads of storage a second."""
    return sum(n * READS[kind] for kind, n in load.items()) * (1 - HITS)


@pytest.mark.parametrize("row", table(SIZING, "raw"), ids=lambda row: row[0])
def test_a_row_of_the_table_follows(row: list[str]) -> None:
    """Cores, replicas, memory and dollars, to two digits."""
    raw, rate, kept, told, pods, memory, *dollars = row
    load = asked(number(rate), 0.0 if kept == "–" else number(kept) / 100)
    assert number(told) == pytest.approx(cores(load), rel=0.05)
    replicas, workers = (int(word) for word in pods.split(" × "))
    assert replicas == max(2, ceil(cores(load) / workers))
    if not kustomize():
        pytest.skip("kubectl or kustomize: not installed")
    overlay = "overlays/prod" if workers == 2 else "base"
    spec = only(render(overlay), "Deployment")["spec"]["template"]["spec"]
    limit = spec["containers"][0]["resources"]["limits"]["memory"]
    gib = number(limit) / (1024 if limit.endswith("Mi") else 1)
    assert number(memory) == gib
    terabytes = number(raw) * TERA[raw.split()[1]]
    machines = replicas * max(workers, gib / GIB_A_CORE) * DOLLARS_A_CORE
    expected = (
        terabytes * STORED * DOLLARS_A_TB,
        reads(load) * MONTH * DOLLARS_A_READ,
        machines,
    )
    assert [number(cell) for cell in dollars] == pytest.approx(expected, rel=0.05)


def test_the_mix_is_what_its_parts_are() -> None:
    """Milliseconds of the mean answer, and its reads where it is not in the cache."""
    mean = sum(share * milliseconds(kind) for kind, share in SHARE.items())
    assert f"{mean:.1f} ms, and {sum(SHARE[k] * READS[k] for k in READS):.1f} requests" in SIZING


def test_the_load_on_paper_follows() -> None:
    """Cores, reads and caches of the load are of the answers that a CDN does not keep."""
    rows = {row[0]: row[2] for row in table(CAPACITY, "what")}
    load = asked(10_000, 0.56)
    assert number(rows["answers by the service"]) == pytest.approx(sum(load.values()))
    assert number(rows["cores"]) == pytest.approx(cores(load), rel=0.02)
    replicas = ceil(cores(load) / 2)
    assert f"{replicas} replicas of two workers" in rows["cores"]
    assert number(rows["reads of storage"]) == pytest.approx(reads(load), rel=0.02)
    assert number(rows["cache"]) == replicas * 2 * 2
    colder = f"cores rise from {cores(load):.0f} to {cores(load, 0.2):.0f}"
    assert colder in " ".join(CAPACITY.split())
    assert f"a rollout of {replicas} replicas" in CAPACITY


def test_objects_on_paper_follow() -> None:
    """As many as shards of 128 MiB, with what coarser levels add."""
    rows = {row[0]: row[2] for row in table(CAPACITY, "what")}
    objects = 10e15 * 1.14 / (128 << 20)
    assert number(rows["objects"]) == pytest.approx(objects / 1e6, rel=0.02)
    assert f"has {round(objects / 100, -4):,.0f} shards" in CAPACITY


def test_ingests_on_paper_follow() -> None:
    """Pods, times and bytes a second are of the speed of one core, as it was measured."""
    text = " ".join(SIZING.split())

    def said(pattern: str) -> float:
        match = re.search(pattern, text)
        assert match, pattern
        return float(match[1])

    speed = said(r"cores of a pod × (\d+) MB/s")
    measured = said(r"\((\d+) MB of uint16") / said(r"([\d.]+) s of processor time")
    assert speed == pytest.approx(measured, rel=0.01)
    assert "16 pods of two cores make a TB in eight minutes" in text
    assert 1e6 / (16 * 2 * speed) / 60 == pytest.approx(8, rel=0.1)
    assert "64 pods 100 TB in three and a half hours" in text
    assert 100e6 / (64 * 2 * speed) / 3600 == pytest.approx(3.5, rel=0.1)
    assert 64 * 2 * speed / 1e3 == pytest.approx(said(r"([\d.]+) GB/s of reads"), rel=0.02)
    assert 64 * 2 * speed / 1e3 * STORED == pytest.approx(
        said(r"([\d.]+) GB/s of writes"), rel=0.02
    )
