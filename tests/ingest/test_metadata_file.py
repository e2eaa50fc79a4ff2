"""Metadata in YAML and JSON: what is read, and what is refused before anything is built of it."""

import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microtome_core.errors import SourceError
from microtome_core.store.location import StorageOptions
from microtome_ingest.metadata_file import MOST_BYTES, parse_yaml, read_metadata
from tests.http_server import serving


def _file(folder: Path, text: str | bytes, name: str = "brain.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_every_value_of_yaml_is_the_text_that_stands_there(tmp_path: Path) -> None:
    """What a number is the record knows; null is null, unless it is quoted."""
    told = read_metadata(
        _file(
            tmp_path,
            "subject: {subject_id: 007, sex: F}\nversion: 1.10\nday: 2024-05-01\nno: off\n"
            "gone: null\nempty:\nword: 'null'\nkeywords:\n- a\n- [1, ~]\n",
        )
    )
    assert told == {
        "subject": {"subject_id": "007", "sex": "F"},
        "version": "1.10",
        "day": "2024-05-01",
        "no": "off",
        "gone": None,
        "empty": None,
        "word": "null",
        "keywords": ["a", ["1", None]],
    }


def test_json_is_read_as_json(tmp_path: Path) -> None:
    """With tabs, and numbers that are numbers."""
    told = read_metadata(_file(tmp_path, '{\n\t"significant_bits": 12\n}', "brain.json"))
    assert told == {"significant_bits": 12}


def test_a_file_may_lie_at_an_address(tmp_path: Path) -> None:
    """Read as one of this machine, from a host that may be asked and by no more bytes than it has;
    without that word it is refused, as are ones that are absent or too large.
    """
    text = '{"lab": "A"}'
    assert read_metadata(f"file://{_file(tmp_path, text, 'a.JSON')}") == {"lab": "A"}
    options = StorageOptions(allowed_hosts=("127.0.0.1",))
    with serving() as site:
        url = site.put("facts.json", text.encode())
        assert read_metadata(url, options) == {"lab": "A"}
        large = site.put("large.yaml", b"a" * (MOST_BYTES + 1))
        for bad, given in ((url, None), (f"{site.url}/none.yaml", options), (large, options)):
            with pytest.raises(SourceError, match=bad.rpartition("/")[2]):
                read_metadata(bad, given)


def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    """Empty, or of comments alone."""
    assert read_metadata(_file(tmp_path, "")) == {}
    assert read_metadata(_file(tmp_path, "# nothing\n")) == {}


_BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_BOMB, "line 1: anchors and aliases are not read"),
        ("a: &a\n  b: *a\n", "line 1: anchors and aliases"),
        ("a: 1\nb: *a\n", "line 2: anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "the tag 'tag:yaml.org,2002:python"),
        ("a: !!binary aGk=\n", "the tag"),
        ("lab: A\nlab: B\n", "line 2: 'lab' stands twice"),
        ("subject: {sex: F, sex: M}\n", "'sex' stands twice"),
        ("a: 1\n---\nb: 2\n", "holds 2 documents"),
        ("- a\n", "expected fields and values"),
        ("text\n", "expected fields and values"),
        ("? [a, b]\n: 1\n", "a key that is no text"),
        ("a: " + "[" * 100_000, "nested more than 16 deep"),
        ("a:\n" + "".join(" " * i + "- \n" for i in range(1, 200)), "nested more than 16"),
        ("- a\n" * 30_000, "more than 5000 values"),
        ("a: [1, 2\n", "not YAML"),
        ("a: b: c\n", "not YAML"),
        ("a: 'b\n", "not YAML"),
        ("a: \x01\n", "not YAML"),
        ("a: " + "x" * (10 << 20), f"more than {MOST_BYTES} bytes"),
        (b"a: \xff\n", "byte 3 is no UTF-8"),
    ],
)
def test_what_no_such_file_needs_is_refused_at_once(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    """In a second, and in little memory, with the line."""
    path = _file(tmp_path, text)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(SourceError) as refused:
            read_metadata(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 20
    assert reason in str(refused.value)
    assert path in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": ' * 100_00 + "1" + "}" * 100_00, "nested too deeply"),
        ("[1]", "expected fields"),
        ('{"a": ', "not JSON"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """Keys that stand twice, numbers that are none, and depth without end."""
    with pytest.raises(SourceError, match=r"brain\.json") as refused:
        read_metadata(_file(tmp_path, text, "brain.json"))
    assert reason in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And a folder is none."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SourceError, match=str(path)):
            read_metadata(str(path))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=80) | st.text("ab:-[]{}&*!|>'\"#\n ~,?%@", max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    """Nothing else comes of it."""
    found: Any = None
    with suppress(SourceError):
        found = parse_yaml("x.yaml", text)
    assert found is None or isinstance(found, dict | list | str)
