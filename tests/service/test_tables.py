"""Tables as JSON and Arrow: what encoding them takes is what is admitted."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from microtome_service.tables import ARROW, JSON, Column, Table, encode_table, encoding_bytes

ROWS, WIDTH = 4000, 12


def table(fraction: float) -> Table:
    """Return numbers of which some are NaN, in rows of several."""
    draw = np.random.default_rng(2)
    values = draw.normal(size=(WIDTH, ROWS))
    values[draw.random(values.shape) < fraction] = np.nan
    # As a window is handed on: time first, which it is not in memory.
    return Table((Column("frame", np.arange(ROWS)), Column("responses", values.T, "a.u.")))


@pytest.mark.parametrize("media_type", [JSON, ARROW])
@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_encoding_takes_no_more_than_is_told(media_type: str, fraction: float) -> None:
    """Memory beside the values stays within what is known before, for whichever values."""
    made = table(fraction)
    encode_table(made, "frames", media_type)  # what is imported once
    cells, nbytes = ROWS * (WIDTH + 1), 8 * ROWS * (WIDTH + 1)
    pool = pa.default_memory_pool()
    before, known = pool.bytes_allocated(), encoding_bytes(media_type, cells, nbytes)
    tracemalloc.start()
    try:
        body = encode_table(made, "frames", media_type)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak + pool.bytes_allocated() - before <= known
    assert known < 8 * (len(body) + nbytes)
    if media_type == JSON:
        assert len(json.loads(body)["frames"]) == ROWS
        return
    found = pa.ipc.open_stream(body).read_all()
    tensors = found.column("responses").combine_chunks()
    np.testing.assert_array_equal(tensors.to_numpy_ndarray(), made.columns[1].values)
