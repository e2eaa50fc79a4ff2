"""Chunks and shards: sizes that suit the data."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import InputError
from microtome_core.layout import SHARD_BYTES, choose_layout


@st.composite
def volumes(draw: st.DrawFn) -> tuple[str, tuple[int, ...], tuple[float, ...], int]:
    """Axes, shape, voxel size and itemsize of anything from a pixel to a petabyte."""
    axes = draw(st.sampled_from(["yx", "zyx", "cyx", "tyx", "czyx", "tczyx"]))
    shape = tuple(draw(st.integers(1, 100_000)) for _ in axes)
    scale = tuple(draw(st.floats(0.001, 1000)) for _ in axes)
    return axes, shape, scale, draw(st.sampled_from([1, 2, 4, 8]))


@given(volumes())
def test_a_shard_is_whole_chunks_and_neither_is_too_large(
    volume: tuple[str, tuple[int, ...], tuple[float, ...], int],
) -> None:
    """Chunks stay near 64³ voxels, shards near 64 MiB, and the one divides the other."""
    axes, shape, scale, itemsize = volume
    layout = choose_layout(axes, shape, scale, itemsize)
    assert all(outer % inner == 0 for inner, outer in zip(layout.chunk, layout.shard, strict=True))
    assert all(1 <= c <= n for c, n in zip(layout.chunk, shape, strict=True))
    assert prod(layout.chunk) <= 2 * 64**3
    assert prod(layout.shard) * itemsize < 2 * SHARD_BYTES
    for axis, chunk, extent in zip(axes, layout.chunk, shape, strict=True):
        assert axis not in "zyx" or chunk % 2 == 0 or chunk == extent


@pytest.mark.parametrize(
    ("scale", "chunk"),
    [((1, 1, 1), (64, 64, 64)), ((1, 0.4, 0.4), (32, 96, 96)), ((50, 4, 4), (16, 128, 128))],
)
def test_chunks_are_near_to_cubes_in_space(
    scale: tuple[float, ...], chunk: tuple[int, ...]
) -> None:
    """Coarse axes get fewer voxels."""
    assert choose_layout("zyx", (4096, 4096, 4096), scale, 1).chunk == chunk


def test_a_movie_is_chunked_in_time() -> None:
    """Without z, time points share a chunk, so that one pixel's trace is not a million reads."""
    assert choose_layout("tyx", (10_000, 512, 512), (1, 1, 1), 1).chunk == (16, 128, 128)


def test_the_users_extents_win() -> None:
    """A chunk and a shard that are given are taken as they are."""
    layout = choose_layout("zyx", (100, 100, 100), (1, 1, 1), 2, (10, 20, 30), (20, 40, 60))
    assert (layout.chunk, layout.shard) == ((10, 20, 30), (20, 40, 60))


def test_a_chunk_longer_than_its_axis_is_clipped_and_the_shard_with_it() -> None:
    """The same chunk and shard serve volumes that are thinner than they are."""
    layout = choose_layout("zyx", (50, 999, 30), (1, 1, 1), 2, (64, 64, 64), (128, 512, 60))
    assert (layout.chunk, layout.shard) == ((50, 64, 30), (50, 512, 30))


@pytest.mark.parametrize(
    ("chunk", "shard", "expected"),
    [
        ((10, 10), None, "3 numbers"),
        ((0, 8, 8), None, "3 numbers"),
        ((33, 32, 32), None, "even"),
        ((32, 32, 32), (48, 32, 32), "multiple"),
    ],
)
def test_extents_that_cannot_be_are_refused(
    chunk: tuple[int, ...], shard: tuple[int, ...] | None, expected: str
) -> None:
    """The message says what was expected."""
    with pytest.raises(InputError, match=expected):
        choose_layout("zyx", (100, 100, 100), (1, 1, 1), 2, chunk, shard)
