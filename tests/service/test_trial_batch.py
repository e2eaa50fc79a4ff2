"""Many trials in one answer: what is planned before anything is read, and what is answered."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from microtome_core.bundle import LENGTH_BYTES, parse_header
from microtome_core.store.location import Store
from microtome_core.store.recordings import read_recording
from microtome_service.trial_batch import Asked, choose_parts
from tests.recording_made import Made, make_recording
from tests.sensorium_folders import Mouse

NEURONS = 60
BATCH = "/api/datasets/lab/mice/one/trials/batch"


@pytest.fixture
def made(disk_store: Store) -> Made:
    """A recording of some trials."""
    return make_recording(disk_store, "lab/mice/one", Mouse(neurons=NEURONS))


def _stored(made: Made) -> list[int]:
    return [t for t in range(made.mouse.trials) if t not in made.withheld]


def test_a_list_of_neurons_is_held_once(disk_store: Store, made: Made) -> None:
    """However many trials it is asked of: thousands of long lists would fill memory."""
    word = ",".join(map(str, range(NEURONS - 1, -1, -1)))
    asked = Asked(trials=_stored(made) * 50, variables=["responses"], neurons=word)
    parts = [part for _, part in choose_parts(read_recording(disk_store, made.id), asked, 4096)]
    assert len(parts) == len(asked.trials)
    assert len({id(part.picked) for part in parts if part}) == 1


def test_trials_come_in_the_order_of_the_list(
    disk_store: Store, made: Made, connect: Callable[..., Any]
) -> None:
    """Each array equals the trial that it names, its neurons as they were listed."""
    neurons, trials = [5, 0, NEURONS - 1, 5], _stored(made)[::-1]
    body = {"trials": trials, "variables": ["responses"], "neurons": ",".join(map(str, neurons))}
    call = connect(disk_store)
    answer = call("POST", BATCH, json=body)
    assert answer.status_code == 200, answer.text
    data = answer.content
    begin = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    _, items = parse_header(data[LENGTH_BYTES:begin])
    assert [item.trial for item in items] == trials
    for item in items:
        values = np.frombuffer(data, item.dtype, int(np.prod(item.shape)), begin)
        expected = made.arrays[item.trial, "responses"][neurons]
        np.testing.assert_array_equal(values.reshape(item.shape), expected)
        begin += item.nbytes + item.padding
    assert begin == len(data)
    assert int(answer.headers["x-microtome-cost-bytes-decoded"]) >= sum(i.nbytes for i in items)
    assert call.app.state.service.gate.used == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"trials": []}, 400, "trials"),
        ({"trials": [0, 999]}, 404, "trials.1"),
        ({"trials": [0], "windows": [[3, 3]], "variables": ["videos"]}, 400, "trials.0"),
        ({"trials": [0], "neurons": "0,60"}, 400, "neuron 60"),
        ({"trials": [0] * 9, "variables": ["videos"]}, 413, "limit is 8"),
    ],
)
def test_what_cannot_be_is_refused_by_place(
    body: dict[str, Any],
    status: int,
    words: str,
    disk_store: Store,
    made: Made,
    connect: Callable[..., Any],
) -> None:
    """Each fault has its status and names its place in the list; nothing is read."""
    answer = connect(disk_store, max_boxes=8)("POST", BATCH, json=body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
