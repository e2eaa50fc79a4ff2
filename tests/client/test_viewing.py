"""Pictures in notebooks are of the plane asked for, in the colours of its channels."""

from typing import Any

import numpy as np
import pytest

import microtome
from microtome import viewing
from microtome.errors import MissingLibrary, RegionError
from microtome_core.wire import Channel
from tests.client.served import Served


def test_a_picture_shows_the_plane_asked_for(served: Served) -> None:
    """All channels in their colours, scales in micrometers, the middle unless said otherwise."""
    volume = microtome.open(served.em)
    drawn = volume.show(sliders=False, z=3)
    axes = drawn.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x (micrometer)", "y (micrometer)")
    assert axes.images[0].get_extent() == [-0.25, 19.75, 23.75, -0.25]
    low, high = volume.channels[0].window
    shown = np.asarray(axes.images[0].get_array())
    parts = [np.clip((served.brain[c, 3] - low) / (high - low), 0, 1) for c in (0, 1)]
    expected = np.clip(parts[0][..., None] * [0, 1, 0] + parts[1][..., None] * [1, 0, 1], 0, 1)
    assert np.allclose(shown, expected, atol=1 / 255)
    with pytest.raises(RegionError, match="axis 'q' is unknown"):
        volume.show(sliders=False, q=1)


def test_ids_have_colours_of_their_own(served: Served) -> None:
    """Zero is black, every other id is bright, and two ids differ."""
    cells = microtome.open(f"{served.url}/demo/brain/cells")
    shown = np.asarray(cells.show(sliders=False, z=4).axes[0].images[0].get_array())
    ids = served.cells[4]
    assert (shown[ids == 0] == 0).all()
    assert (shown[ids != 0].max(axis=-1) > 0.99).all()
    found = {tuple(shown[ids == i][0]) for i in np.unique(ids) if i}
    assert len(found) == len(np.unique(ids)) - 1


def test_sliders_move_the_picture(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for z, one for contrast, a choice of channels; each change draws what it says."""
    drawn: list[tuple[Any, Any]] = []
    plane_of = viewing.plane_of

    def spy(volume: Any, positions: Any) -> Any:  # noqa: ANN401
        drawn.append((dict(positions), None))
        return plane_of(volume, positions)

    monkeypatch.setattr(viewing, "plane_of", spy)
    box = microtome.open(served.em).show(z=2)
    z, contrast, channel, _ = box.children
    assert (z.value, z.max, channel.value) == (2, 19, "all")
    assert contrast.value == microtome.open(served.em).channels[0].window
    z.value = 7
    channel.value = 1
    assert drawn[-1][0] == {"z": 7, "c": 1}


def test_large_planes_are_seen_at_a_coarser_level() -> None:
    """The finest whose planes fit a screen."""

    class Level:
        def __init__(self, *shape: int) -> None:
            self.shape = shape

    class Volume:
        levels = (Level(9, 4096, 4096), Level(9, 2048, 1000), Level(9, 1024, 500))

    assert viewing.level_to_see(Volume()) == 2  # type: ignore[arg-type]


def test_a_window_that_says_nothing_is_not_divided_by() -> None:
    """A plane of one value has a colour, too."""
    plane = viewing.Plane(
        np.full((2, 3), 5.0), (Channel("a", "FF0000", (0.0, 0.0)),), (0, 1, 1, 0), ("x", "y")
    )
    assert np.isfinite(plane.colors()).all()


def test_without_matplotlib_the_error_says_what_to_install(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And names the extra."""
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingLibrary, match=r"the extra 'notebook' of microtome"):
        microtome.open(served.em).show()


def test_a_notebook_has_a_picture(served: Served) -> None:
    """As PNG, and within the table."""
    volume = microtome.open(served.em)
    assert (volume._repr_png_() or b"").startswith(b"\x89PNG")
    assert "data:image/png" in volume._repr_html_()
