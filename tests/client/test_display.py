"""A volume shows itself in a terminal and in a notebook."""

import base64
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import microtome
from microtome.errors import WrongAnswer
from microtome_core.units import bytes_text
from microtome_core.wire import Channel

Array = NDArray[np.uint16]


def test_repr_is_one_line(url: str) -> None:
    """It tells layer, level, axes, shape, type, bytes and voxel size."""
    assert repr(microtome.open(url)) == (
        "<microtome.Volume demo/brain/neurons level 0 of 3: czyx (3, 20, 48, 40) uint16, 230 kB, "
        "voxel 1×0.4×0.4 micrometer>"
    )


def test_a_notebook_shows_a_table_and_a_picture(server: Any, url: str) -> None:  # noqa: ANN401
    """The picture is within the page, so that it survives in a saved notebook."""
    html = microtome.open(url)._repr_html_()
    picture = base64.b64encode(server.picture).decode()
    assert f'src="data:image/png;base64,{picture}"' in html
    assert "<td" in html
    assert "DAPI, GFP, RFP" in html
    assert server.asked[-1].endswith("/thumbnail.png?size=256")


def test_without_a_picture_the_table_says_so(server: Any, url: str) -> None:  # noqa: ANN401
    """A service that cannot draw is asked once, and its reason is shown, escaped."""
    server.fail(503, times=3, detail="<script>alert(1)</script>")
    html = microtome.open(url)._repr_html_()
    assert "no thumbnail: &lt;script&gt;" in html
    assert "<img" not in html
    assert "<script" not in html
    assert len(server.asked) == 2


def test_a_slow_picture_is_not_waited_for(server: Any, url: str) -> None:  # noqa: ANN401
    """The table comes within seconds."""
    volume = microtome.open(url)
    server.faults.append(lambda *_: server.closing.wait(30))
    begun = time.monotonic()
    assert "no thumbnail" in volume._repr_html_()
    assert time.monotonic() - begun < 5


def test_what_is_no_png_is_not_shown(server: Any, url: str) -> None:  # noqa: ANN401
    """Only a PNG file becomes an image."""
    server.picture = b"<svg onload=alert(1)>"
    volume = microtome.open(url)
    assert "<img" not in volume._repr_html_()
    with pytest.raises(WrongAnswer, match="no PNG"):
        volume.thumbnail()


def test_names_are_escaped(server: Any, url: str) -> None:  # noqa: ANN401
    """Nothing that a layer says becomes markup."""
    layer = server.layers["demo/brain/neurons"]
    evil = Channel('<img src=x onerror="alert(1)">', "FFFFFF", (0.0, 1.0))
    layer.info = replace(layer.info, channels=(evil,), kind="<b>", units=("<i>",) * 4)
    html = microtome.open(url)._repr_html_()
    for markup in ("<img src=x", "<b>", "<i>", 'onerror="'):
        assert markup not in html


def test_a_thumbnail_is_a_png_file(server: Any, url: str) -> None:  # noqa: ANN401
    """Of the size asked for."""
    assert microtome.open(url).thumbnail(64) == server.picture
    assert server.asked[-1].endswith("?size=64")


@given(st.integers(0, 10**20))
def test_bytes_are_told_in_three_digits(count: int) -> None:
    """What is written is within half a percent, and never 1000 of a unit."""
    text, unit = bytes_text(count).split()
    factor = 1000 ** ["B", "kB", "MB", "GB", "TB", "PB", "EB"].index(unit)
    assert float(text) < 1000
    assert abs(float(text) * factor - count) <= 0.005 * count
