"""The JSON that service and client share."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import InputError
from microtome_core.wire import Channel, LayerInfo, LevelInfo

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def layers(draw: st.DrawFn) -> LayerInfo:
    """Any layer."""
    extents = st.tuples(*[st.integers(1, 10**9)] * 2)
    level = st.builds(
        LevelInfo, extents, extents, extents, st.tuples(FLOATS, FLOATS), st.tuples(FLOATS, FLOATS)
    )
    channel = st.builds(Channel, st.text(), st.just("ff00aa"), st.tuples(FLOATS, FLOATS))
    return LayerInfo(
        id="a/b/c",
        kind=draw(st.sampled_from(["image", "labels"])),
        axes="yx",
        units=draw(st.tuples(*[st.sampled_from(["micrometer", None])] * 2)),
        dtype="uint16",
        levels=tuple(draw(st.lists(level, min_size=1, max_size=3))),
        channels=tuple(draw(st.lists(channel, max_size=3))),
        version=draw(st.text()),
        attrs=draw(st.dictionaries(st.text(), st.text(), max_size=2)),
    )


@given(layers())
def test_a_layer_survives_the_wire(layer: LayerInfo) -> None:
    """to_json, JSON text and from_json give the same layer; new fields do no harm."""
    words = json.loads(json.dumps({**layer.to_json(), "links": {"new": True}}))
    assert LayerInfo.from_json(words) == layer


@pytest.mark.parametrize("words", [{}, {"id": "a/b/c"}, {"levels": 3}])
def test_what_is_no_layer_is_refused(words: dict[str, object]) -> None:
    """JSON that lacks fields is an InputError, not a KeyError."""
    with pytest.raises(InputError, match="layer"):
        LayerInfo.from_json(words)
