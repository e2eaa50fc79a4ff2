"""SWC: what is no tree of finite points is refused with its line; everything else is counted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import InputError, MissingMetadata, SourceError
from microtome_core.swc import type_name
from microtome_ingest.files import Files
from microtome_ingest.swc import annotation, content_of, parse, skeletons
from tests.counted import Counted

TREE = b"""# a comment
1 1 0 0 0 5 -1
2 3 1.5 -2 0 1 1   # a dendrite

4 3 3 -4e1 1 1 2
3 2 0 0 9 1 1
9 2 0 0 10 0 -1
"""


def test_a_skeleton_is_counted() -> None:
    """Nodes, roots, types and the box around them; a child may come before its parent."""
    found = parse(TREE, "a.swc")
    assert (found.nodes, found.roots) == (5, 2)
    assert found.types == {1: 1, 2: 2, 3: 2}
    assert (found.low, found.high) == ((0, -40, 0), (3, 0, 10))
    assert found.notes == ("1 nodes have no radius (0 or less)",)
    assert parse(TREE.replace(b"\n", b"\r\n"), "a.swc") == found
    assert parse(b"\xef\xbb\xbf" + TREE, "a.swc") == found
    assert [type_name(kind) for kind in (0, 1, 2, 7)] == ["undefined", "soma", "axon", "type 7"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no nodes"),
        (b"# nothing\n", "no nodes"),
        (b"1 1 0 0 0 1\n", "line 1 is no node"),
        (b"1 1 0 0 0 1 -1\nhello\n", "line 2 is no node: 'hello'"),
        (b"1 1 0 nan 0 1 -1\n", "line 1: a number that is not finite"),
        (b"1 1 0 1e400 0 1 -1\n", "line 1: a number that is not finite"),
        (b"1.5 1 0 0 0 1 -1\n", "line 1: number, type and parent are whole"),
        (b"1 1 0 0 0 1 -1\n1 1 0 0 0 1 -1\n", "line 2: node 1 is there twice"),
        (b"1 1 0 0 0 1 -1\n2 1 0 0 0 1 7\n", "line 2: its parent 7 is not there"),
        (b"1 1 0 0 0 1 0\n", "line 1: its parent 0 is not there"),
        (b"1 1 0 0 0 1 1\n", "line 1: its parents go round"),
        (b"5 1 0 0 0 1 -1\n1 1 0 0 0 1 3\n2 1 0 0 0 1 1\n3 1 0 0 0 1 2\n", "line 2: .* circle"),
        (b"\x00\xff" * 50, "line 1 is no node"),
    ],
)
def test_what_is_no_skeleton_is_refused(content: bytes, reason: str) -> None:
    """The message names the line."""
    with pytest.raises(SourceError, match=rf"a\.swc: .*{reason}"):
        parse(content, "a.swc")


@given(data=st.data())
def test_any_forest_is_one(data: st.DataObject) -> None:
    """Whatever the order of its lines, a forest is accepted; one edge to below makes a circle."""
    count = data.draw(st.integers(1, 40))
    parents = [data.draw(st.integers(-1, i - 1)) for i in range(count)]
    order = data.draw(st.permutations(range(count)))

    def written() -> bytes:
        lines = [f"{i + 1} 0 {i} 0 0 1 {parents[i] + 1 or -1}" for i in order]
        return "\n".join(lines).encode()

    found = parse(written(), "a.swc")
    assert (found.nodes, found.roots) == (count, parents.count(-1))
    root = parents.index(-1)
    below = [i for i in range(count) if above(parents, i) == root]
    parents[root] = data.draw(st.sampled_from(below))
    with pytest.raises(SourceError, match="circle"):
        parse(written(), "a.swc")


def above(parents: list[int], node: int) -> int:
    """Return the root of a node."""
    while parents[node] >= 0:
        node = parents[node]
    return node


@pytest.mark.parametrize(
    ("comment", "unit", "factor"),
    [
        (b"# units: microns", "micrometer", 1),
        (b"#UNIT = nm", "nanometer", 1),
        ("# Coordinate units: µm".encode(), "micrometer", 1),
        (b'# Meta: {"id": 7, "units": "8 nanometer"}', "nanometer", 8),
        (b"# units: voxels", None, 1),
        (b"# united: nm", None, 1),
        (b"# Meta: {units", None, 1),
        (b"# Meta: [1]", None, 1),
    ],
)
def test_the_unit_is_what_the_header_says(comment: bytes, unit: str | None, factor: float) -> None:
    """Spelt as programs spell it; nothing is taken for granted."""
    found = parse(comment + b"\n" + TREE, "a.swc")
    assert (found.unit, found.factor) == (unit, factor)


def test_the_unit_is_asked_for() -> None:
    """Without one the user is asked, whose answer also goes before the header's."""
    found = parse(TREE, "a.swc")
    with pytest.raises(MissingMetadata, match=r"a\.swc: .*--unit micrometer"):
        annotation(TREE, found, "a.swc", None, "now")
    assert annotation(TREE, found, "a.swc", "um", "now").unit == "micrometer"
    assert annotation(TREE, found, "a.swc", "pixel", "now").unit is None
    for wrong in ("second", "parsec"):
        with pytest.raises(InputError, match="length"):
            annotation(TREE, found, "a.swc", wrong, "now")
    scaled = b"# units: 8 nm\n" + TREE
    told = annotation(scaled, parse(scaled, "a.swc"), "s/a.swc", None, "now")
    assert (told.unit, told.unit_factor, told.source.name) == ("nanometer", 8, "a.swc")
    assert annotation(scaled, parse(scaled, "a.swc"), "a.swc", "um", "now").unit_factor == 1


def test_which_files_are_meant(tmp_path: Path) -> None:
    """A file, a pattern, a folder of skeletons; not a folder with pictures in it."""
    for name in ("b.swc", "A.SWC", ".hidden.swc", "readme.txt"):
        (tmp_path / name).write_bytes(TREE)
    files = Files()
    assert skeletons(str(tmp_path / "b.swc"), files) == (str(tmp_path / "b.swc"),)
    both = (str(tmp_path / "A.SWC"), str(tmp_path / "b.swc"))
    assert skeletons(str(tmp_path), files) == both
    assert skeletons(str(tmp_path / "*.swc"), files) == both[1:]
    for other in ("readme.txt", "none.swc", "none"):
        assert skeletons(str(tmp_path / other), files) == ()
    assert skeletons("synthetic://neurons?seed=1", files) == ()
    (tmp_path / "z.tif").write_bytes(b"")
    assert skeletons(str(tmp_path), files) == ()
    Counted.reset()
    url = Counted.put("cells/a.swc", TREE)
    assert skeletons(url, files) == skeletons("counted://cells/", files) == (url,)
    assert content_of(url, files) == TREE


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    """An empty file and one far beyond any neuron are not read."""
    (tmp_path / "a.swc").write_bytes(b"")
    with pytest.raises(SourceError, match="0 bytes"):
        content_of(str(tmp_path / "a.swc"), Files())
    with (tmp_path / "b.swc").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SourceError, match="has 1073741824 bytes"):
        content_of(str(tmp_path / "b.swc"), Files())


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "nodes", "roots"),
    [("1734350788", 4465, 1), ("1734350908", 4847, 1), ("722817260", 4332, 1),
     ("754534424", 4696, 1), ("754538881", 4881, 2)],
)  # fmt: skip
def test_samples(samples: Path, name: str, nodes: int, roots: int) -> None:
    """Real skeletons have the manifest's nodes and roots, and the box that NumPy finds."""
    path = samples / f"swc/navis-hemibrain/{name}.swc"
    found = parse(path.read_bytes(), str(path))
    table = np.loadtxt(path)
    assert (found.nodes, found.roots, found.unit) == (nodes, roots, None)
    assert found.low == tuple(table[:, 2:5].min(0))
    assert found.high == tuple(table[:, 2:5].max(0))
    assert sum(found.types.values()) == nodes
