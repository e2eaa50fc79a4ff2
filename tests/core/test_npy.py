"""Heads and arrays of NPY files."""

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray

from microtome_core.npy import load, read_head


def _file(values: NDArray[np.generic]) -> bytes:
    out = BytesIO()
    np.save(out, values, allow_pickle=True)
    return out.getvalue()


@given(
    nps.arrays(
        st.one_of(nps.integer_dtypes(), nps.floating_dtypes(), nps.boolean_dtypes()),
        nps.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_arrays_come_back(values: NDArray[np.generic], fortran: bool) -> None:
    """What NumPy saved is loaded with its values, type and order, and may be written to."""
    saved = np.asfortranarray(values) if fortran else values
    found = load(_file(saved))
    np.testing.assert_array_equal(found, saved)
    assert (found.dtype, found.flags.writeable) == (saved.dtype, True)
    assert found.flags.f_contiguous == saved.flags.f_contiguous or not saved.size


def test_a_head_says_where_the_values_begin() -> None:
    """Shape, order, type and place of the values are known without them."""
    content = _file(np.asfortranarray(np.zeros((3, 4), ">u2")))
    stream = BytesIO(content)
    head = read_head(stream)
    assert (head.shape, head.fortran, head.dtype) == ((3, 4), True, np.dtype(">u2"))
    assert head.start == stream.tell() == len(content) - head.nbytes


def test_extents_of_python_2_are_numbers() -> None:
    """A head that Python 2 wrote, with (3L, 4L), is read."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    assert read_head(BytesIO(head)).shape == (3, 4)


def test_names_of_fields_are_no_extents() -> None:
    """One that ends like a number of Python 2 stays what it is."""
    assert load(_file(np.zeros(2, [("x3L", "<f4")]))).dtype.names == ("x3L",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x03\x00\x02\x00\x00\x00{}",
        b"\x93NUMPY\x01\x00\x02\x00{}",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x01\x00\x88\x13" + b"(" * 5000,
        _file(np.arange(5))[:-1],
        _file(np.arange(5)).replace(b"(5,), ", b"(-1,),"),
        _file(np.array([{}, None], object)),
    ],
)
def test_other_bytes_are_no_array(content: bytes) -> None:
    """What is no NPY file, ends early, nests without end or is pickled is a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        load(content)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """A garbage collector that works often, and threads that change as often: while they parse."""
    collects, switches = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(30)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(switches)
    gc.set_threshold(*collects)


class _Garbage:
    """Lets other threads run when it is collected."""

    other: "_Garbage"

    def __del__(self) -> None:
        sum(range(50))


@pytest.mark.usefixtures("eager_threads")
def test_many_threads_read_heads() -> None:
    """Heads read by many threads at once are read as by one."""
    content = _file(np.zeros((2, 3), "u1"))

    def read(_: int) -> tuple[int, ...]:
        first, second = _Garbage(), _Garbage()
        first.other, second.other = second, first
        return read_head(BytesIO(content)).shape

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read, range(4000))) == {(2, 3)}
