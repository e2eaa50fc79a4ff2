"""Recordings over HTTP: tables, values, batches, and what is said where there are none."""

import json
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.bundle import LENGTH_BYTES, parse_header
from microtome_core.store.location import StorageOptions, Store
from tests.recording_made import AXES, Made, make_recording

RECORDING = "/api/datasets/demo/sensorium/mouse"


@pytest.fixture(scope="module")
def made(make_caller: Callable[[Store], Any]) -> Any:  # noqa: ANN401 - a caller and what it calls
    """A caller of a store with one recording, and what that holds; nobody changes it."""
    store = Store("memory://recordings", StorageOptions(cache_bytes=1 << 24))
    return make_caller(store), make_recording(store, "demo/sensorium/mouse")


@pytest.fixture
def changing(memory_store: Store, connect: Callable[..., Any]) -> tuple[Any, Made]:
    """The same in a store to which more is added."""
    made = make_recording(memory_store, "demo/sensorium/mouse")
    return connect(memory_store), made


@pytest.fixture
def memory_store() -> Store:
    """An empty store."""
    return Store("memory://changing", StorageOptions(cache_bytes=1 << 24))


@pytest.fixture
def on_disk(disk_store: Store, connect: Callable[..., Any]) -> tuple[Any, Made]:
    """The same, on disk alone."""
    made = make_recording(disk_store, "demo/sensorium/mouse")
    return connect(disk_store), made


def arrow(answer: Any) -> Any:  # noqa: ANN401 - httpx' and pyarrow's own
    """Return an answer as pyarrow reads it."""
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    return pa.ipc.open_stream(answer.content).read_all()


def npy(answer: Any) -> NDArray[Any]:  # noqa: ANN401 - httpx' own
    """Return an answer as NumPy reads it."""
    return np.asarray(np.load(BytesIO(answer.content), allow_pickle=False))


def test_a_dataset_lists_its_recordings_beside_its_layers(
    changing: tuple[Any, Made], memory_store: Store, make_builder: Callable[..., Any]
) -> None:
    """Each with its links; the recording's own JSON tells its variables."""
    call, mouse = changing
    voxels = np.zeros((3, 4, 5), "uint8")
    make_builder(memory_store).layer("demo/sensorium/brain", "zyx", voxels)
    dataset = call.get("/api/datasets/demo/sensorium").json()
    assert [layer["id"] for layer in dataset["layers"]] == ["demo/sensorium/brain"]
    (listed,) = dataset["recordings"]
    assert (listed["trials"], listed["neurons"]) == (mouse.mouse.trials, mouse.mouse.neurons)
    assert call.get("/api/datasets").json()["datasets"] == [dataset]
    described = call.get(listed["links"]["self"]).json()
    assert described["kind"] == "recording"
    assert [v["name"] for v in described["variables"]] == list(AXES)
    assert described["tiers"]["train"] == mouse.mouse.tiers().count("train")


def test_trials_are_filtered_and_paged(made: tuple[Any, Made]) -> None:
    """By tier, by length, and by place; Arrow holds the same rows."""
    call, mouse = made
    tiers, valid = mouse.mouse.tiers(), mouse.mouse.valid()
    chosen = [n for n, tier in enumerate(tiers) if tier in ("train", "oracle") and valid[n] >= 24]
    url = f"{RECORDING}/trials?tier=train,oracle&min_length=24"
    table = call.get(url).json()
    assert [row["trial"] for row in table["trials"]] == chosen
    assert table["total"] == len(chosen)
    page = call.get(f"{url}&limit=2&offset=1").json()
    assert page["trials"] == table["trials"][1:3]
    assert arrow(call.get(f"{url}&format=arrow")).to_pylist() == table["trials"]
    one = call.get(f"{RECORDING}/trials/{chosen[0]}").json()
    assert one["trials"] == table["trials"][:1]


def test_a_tier_that_is_not_there_is_said_with_those_that_are(made: tuple[Any, Made]) -> None:
    """It is never an empty list."""
    answer = made[0].get(f"{RECORDING}/trials?tier=tran")
    assert answer.status_code == 400
    assert "train" in answer.json()["detail"]


@pytest.mark.parametrize("variable", AXES)
def test_a_window_is_the_same_in_every_format(made: tuple[Any, Made], variable: str) -> None:
    """NPY, raw, JSON with null for NaN, and Arrow with a row for each sample."""
    call, mouse = made
    expected = mouse.arrays[0, variable][..., 3:9]
    url = f"{RECORDING}/trials/0/{variable}?t=3:9&format="
    np.testing.assert_array_equal(npy(call.get(f"{url}npy")), expected)
    raw = call.get(f"{url}raw")
    assert raw.headers["x-microtome-axes"] == ",".join(AXES[variable])
    assert raw.headers["x-microtome-shape"] == ",".join(map(str, expected.shape))
    assert raw.content == expected.tobytes()
    values = np.array(call.get(f"{url}json").json()["values"], float)
    np.testing.assert_allclose(values, expected)
    table = arrow(call.get(f"{url}arrow"))
    rows = table[variable].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(np.moveaxis(rows, 0, -1), expected)
    np.testing.assert_allclose(table["time"], np.arange(3, 9) / 30)


def test_neurons_are_chosen_by_range_or_by_list(made: tuple[Any, Made]) -> None:
    """In the order of the list."""
    call, mouse = made
    whole = mouse.arrays[0, "responses"]
    url = f"{RECORDING}/trials/0/responses?neurons="
    np.testing.assert_array_equal(npy(call.get(f"{url}2:7")), whole[2:7])
    np.testing.assert_array_equal(npy(call.get(f"{url}9,1,4")), whole[[9, 1, 4]])


@pytest.mark.parametrize(
    ("rest", "status", "words"),
    [
        ("trials/99", 404, "it has 0 to 13"),
        ("trials/99/videos", 404, "it has 0 to 13"),
        ("trials/0/smell", 404, "videos, responses"),
        ("trials/0/videos?t=5:99", 400, "0:30"),
        ("trials/0/videos?t=5", 400, "not a range"),
        ("trials/0/videos?t=5:5", 400, "empty"),
        ("trials/0/videos?neurons=1", 400, "no neurons"),
        ("trials/0/responses?neurons=99", 400, "0 to 11"),
        ("trials/0/responses?neurons=a", 400, "expected"),
        ("trials/0/responses?format=png", 400, "npy, raw, json, arrow"),
        ("trials/0/responses?tt=1", 400, "unknown"),
        ("trials/0/responses?version=older", 409, "has version"),
        ("neurons/99/responses", 404, "0 to 11"),
        ("neurons/0/videos", 400, "not of neurons"),
        ("neurons?columns=colour", 400, "xyz"),
        ("statistics/responses/all/mode", 404, "responses/all/mean"),
        ("statistics/responses/all/mean?source=computed", 404, "not computed"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    made: tuple[Any, Made], rest: str, status: int, words: str
) -> None:
    """As a problem that names it."""
    answer = made[0].get(f"{RECORDING}/{rest}")
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("form", ["npy", "raw", "json", "arrow"])
def test_what_is_withheld_is_404_and_never_zeros(made: tuple[Any, Made], form: str) -> None:
    """The error has a name of its own; other variables of the trial are there."""
    call, mouse = made
    trial = mouse.withheld[0]
    answer = call.get(f"{RECORDING}/trials/{trial}/responses?format={form}")
    assert (answer.status_code, answer.json()["error"]) == (404, "Withheld")
    assert call.get(f"{RECORDING}/trials/{trial}/videos").status_code == 200


def test_one_neuron_over_trials_in_every_format(made: tuple[Any, Made]) -> None:
    """NPY holds the trials one after another, NPZ their bounds, JSON and Arrow a row for each."""
    call, mouse = made
    kept = [n for n in range(mouse.mouse.trials) if n not in mouse.withheld]
    parts = {n: mouse.arrays[n, "responses"][5] for n in kept}
    url = f"{RECORDING}/neurons/5/responses?format="
    joined = call.get(f"{url}npy")
    np.testing.assert_array_equal(npy(joined), np.concatenate(list(parts.values())))
    assert joined.headers["x-microtome-trials"] == str(len(kept))
    file = np.load(BytesIO(call.get(f"{url}npz").content))
    assert file["trials"].tolist() == kept
    for place, number in enumerate(kept):
        low, high = file["bounds"][place : place + 2]
        np.testing.assert_array_equal(file["values"][low:high], parts[number])
    for rows in (
        call.get(f"{url}json").json()["trials"],
        arrow(call.get(f"{url}arrow")).to_pylist(),
    ):
        assert [row["trial"] for row in rows] == list(range(mouse.mouse.trials))
        for row in rows:
            if row["trial"] in mouse.withheld:
                assert (row["state"], row["responses"]) == ("withheld", None)
            else:
                np.testing.assert_allclose(row["responses"], parts[row["trial"]])
    gone = call.get(f"{url}npy&tier=final_test_main")
    assert (gone.status_code, gone.json()["error"]) == (404, "Withheld")


def test_neurons_and_statistics_are_those_stored(made: tuple[Any, Made]) -> None:
    """With units, in pages."""
    call, mouse = made
    table = call.get(f"{RECORDING}/neurons?offset=2&limit=3").json()
    assert [row["neuron"] for row in table["neurons"]] == [2, 3, 4]
    found = [row["xyz"] for row in table["neurons"]]
    np.testing.assert_array_equal(found, mouse.coordinates[2:5])
    assert (table["units"], table["total"]) == ({"xyz": "micrometer"}, mouse.mouse.neurons)
    column = arrow(call.get(f"{RECORDING}/neurons?format=arrow"))["xyz"].combine_chunks()
    np.testing.assert_array_equal(column.to_numpy_ndarray(), mouse.coordinates)
    np.testing.assert_array_equal(
        npy(call.get(f"{RECORDING}/statistics/responses/all/mean")), mouse.mean
    )


def test_many_trials_come_in_one_answer(made: tuple[Any, Made]) -> None:
    """In the order of the list, whose length is known; what is withheld is named."""
    call, mouse = made
    held = mouse.withheld[0]
    asked = {"trials": [2, 0, held, 2], "windows": [[1, 9], None, None, [0, 4]], "neurons": "3,1"}
    answer = call("POST", f"{RECORDING}/trials/batch", json=asked)
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    size = int.from_bytes(answer.content[:LENGTH_BYTES], "little")
    document, items = parse_header(answer.content[LENGTH_BYTES : LENGTH_BYTES + size])
    data = answer.content[LENGTH_BYTES + size :]
    assert [item.place for item in items] == [p for p in range(4) for _ in AXES]
    for item, told in zip(items, document["arrays"], strict=True):
        assert item.withheld == (item.trial == held and item.variable == "responses")
        if not item.withheld:
            window = asked["windows"][item.place] or [0, None]
            expected = mouse.arrays[item.trial, item.variable][..., slice(*window)]
            expected = expected[[3, 1]] if item.variable == "responses" else expected
            part = data[told["offset"] : told["offset"] + told["nbytes"]]
            assert part == np.ascontiguousarray(expected).tobytes(), item


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"trials": []}, 400, "trials"),
        ({"trials": [0, 99]}, 404, "trials.1: recording demo/sensorium/mouse has no trial 99"),
        ({"trials": [0], "variables": ["smell"]}, 404, "videos"),
        ({"trials": [0], "windows": [[0, 99]]}, 400, "trials.0"),
        ({"trials": [0], "windows": []}, 400, "0 windows of 1 trials"),
        ({"trials": [0], "more": 1}, 400, "more"),
        ({"trials": [0] * 5000}, 413, "limit"),
    ],
)
def test_a_list_that_does_not_hold_is_refused(
    made: tuple[Any, Made], body: dict[str, Any], status: int, words: str
) -> None:
    """With the place in the list."""
    answer = made[0]("POST", f"{RECORDING}/trials/batch", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_a_batch_larger_than_memory_is_read_in_groups(
    made: tuple[Any, Made], memory_store: Store, connect: Callable[..., Any]
) -> None:
    """Each of what fits, and the answer is the same; above the limit of an answer it is 413."""
    mouse = make_recording(memory_store, "demo/sensorium/mouse")
    limited = connect(memory_store, slab_bytes=4096, max_answer_bytes=50_000)
    asked = {"trials": [0, 1, 2, 3, 4, 5]}
    answers = [call("POST", f"{RECORDING}/trials/batch", json=asked) for call in (made[0], limited)]
    assert answers[0].content == answers[1].content
    everything = {"trials": list(range(mouse.mouse.trials))}
    assert limited("POST", f"{RECORDING}/trials/batch", json=everything).status_code == 413


@pytest.mark.parametrize(
    "rest",
    ["", "/trials", "/trials/0", "/trials/0/videos", "/neurons", "/neurons/0/responses",
     "/statistics/responses/all/mean"],
)  # fmt: skip
def test_answers_are_told_apart_by_tag_and_kept(made: tuple[Any, Made], rest: str) -> None:
    """304 to who has it; HEAD says what GET would, and reads nothing."""
    call, _ = made
    answer = call.get(RECORDING + rest)
    tag = answer.headers["etag"]
    again = call.get(RECORDING + rest, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    head = call("HEAD", RECORDING + rest)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
    version = call.get(RECORDING).json()["version"]
    if rest:
        kept = call.get(f"{RECORDING}{rest}?version={version}")
        assert "immutable" in kept.headers["cache-control"]


def test_what_costs_too_much_is_refused_before_it_is_read(
    memory_store: Store, connect: Callable[..., Any]
) -> None:
    """413, with what to do."""
    make_recording(memory_store, "demo/sensorium/mouse")
    call = connect(memory_store, max_cutout_bytes=1000)
    for rest in ("trials/0/videos", "neurons/0/responses"):
        answer = call.get(f"{RECORDING}/{rest}")
        assert answer.status_code == 413
        assert "limit is 1000" in answer.json()["detail"]
    assert call.get(f"{RECORDING}/trials/0/videos?t=0:3").status_code == 200


def test_without_pyarrow_arrow_is_406_and_says_what_to_install(
    made: tuple[Any, Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is served."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = made[0].get(f"{RECORDING}/trials?format=arrow")
    assert answer.status_code == 406
    assert "the extra 'arrow' of microtome" in answer.json()["detail"]
    assert made[0].get(f"{RECORDING}/trials").status_code == 200


def test_storage_that_fails_is_503_and_names_no_path(
    on_disk: tuple[Any, Made], disk_store: Store
) -> None:
    """An object that is lost or cut short is never read as zeros."""
    call, _ = on_disk
    folder = Path(disk_store.url.removeprefix("file://"))
    data = folder / "demo/sensorium/mouse/data"
    for path in filter(Path.is_file, (data / "videos/c").rglob("*")):
        path.write_bytes(path.read_bytes()[:-3])
    assert call.get("/zarr/demo/sensorium/mouse/data/behavior/c/0/0").status_code == 200
    for lost in filter(Path.is_file, (data / "behavior/c").rglob("*")):
        lost.unlink()
    urls = ["trials/0/videos", "trials/0/behavior", "trials/0/videos?format=json"]
    answers = [call.get(f"{RECORDING}/{url}") for url in urls]
    body = {"trials": [0, 1]}
    answers.append(call("POST", f"{RECORDING}/trials/batch", json=body))
    answers.append(call.get("/zarr/demo/sensorium/mouse/data/behavior/c/0/0"))
    (data.parent / "rows/responses").rename(folder / "gone")
    answers.append(call.get(f"{RECORDING}/neurons/0/responses"))
    for answer in answers:
        assert answer.status_code == 503, answer.url
        assert "storage failed or holds damaged data" in answer.json()["detail"]
        assert str(folder) not in answer.text


def test_a_damaged_recording_hides_no_other(
    changing: tuple[Any, Made], memory_store: Store
) -> None:
    """It is named as damaged where it is listed, and is 503 itself."""
    call, _ = changing
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"recording": {"x": 1}}}
    memory_store.write("demo/sensorium/broken/zarr.json", json.dumps(document).encode())
    listed = call.get("/api/datasets/demo/sensorium").json()["recordings"]
    assert {each["id"].rpartition("/")[2]: "error" in each for each in listed} == {
        "broken": True,
        "mouse": False,
    }
    assert call.get("/api/datasets/demo/sensorium/broken").status_code == 503
    assert call.get("/demo/sensorium", headers={"Accept": "text/html"}).status_code == 200


def test_a_dataset_with_one_recording_needs_no_name(
    changing: tuple[Any, Made], memory_store: Store, make_builder: Callable[..., Any]
) -> None:
    """With several the answer names them; a layer of the name `trials` stays what it is."""
    call, _ = changing
    short = RECORDING.rpartition("/")[0]
    for rest in ("trials?tier=train", "trials/0/videos", "neurons/1/responses"):
        assert call.get(f"{short}/{rest}").content == call.get(f"{RECORDING}/{rest}").content
    voxels = np.zeros((3, 4, 5), "uint8")
    make_builder(memory_store).layer("demo/images/trials", "zyx", voxels)
    assert call.get("/api/datasets/demo/images/trials").json()["kind"] == "image"
    assert call.get("/api/datasets/demo/images/trials/0/videos").status_code == 404
    make_recording(memory_store, "demo/sensorium/other")
    answer = call.get(f"{short}/trials")
    assert answer.status_code == 400
    assert "mouse, other" in answer.json()["detail"]


@pytest.mark.parametrize(
    "url",
    [
        f"{RECORDING}/cutout",
        f"{RECORDING}/thumbnail.png",
        f"{RECORDING}/tiles/xy/0/0/0/0.png",
        "/precomputed/demo/sensorium/mouse/info",
    ],
)
def test_routes_of_voxels_say_what_a_recording_is(made: tuple[Any, Made], url: str) -> None:
    """As routes of trials do of a layer of voxels."""
    answer = made[0].get(url)
    assert answer.status_code == 404
    assert "is a recording" in answer.json()["detail"]


def test_routes_of_trials_say_what_a_volume_is(volume: tuple[Any, NDArray[Any]]) -> None:
    """It has voxels and no trials."""
    answer = volume[0].get("/api/datasets/demo/brain/neurons/trials")
    assert answer.status_code == 404
    assert "has voxels and no trials" in answer.json()["detail"]


def test_a_page_tells_of_a_recording_and_how_to_load_it(made: tuple[Any, Made]) -> None:
    """The page of the catalog leads to the dataset, and that to the recording."""
    call, mouse = made
    page = call.get("/demo/sensorium/mouse", headers={"Accept": "text/html"})
    assert page.status_code == 200
    for words in ("recording.batches", "withheld", f"{mouse.mouse.trials}: ", "micrometer"):
        assert words in page.text
    filtered = call.get("/demo/sensorium/mouse?tier=oracle").text
    found = [text.count('href="?trial=') for text in (filtered, page.text)]
    assert found == [mouse.mouse.tiers().count("oracle"), mouse.mouse.trials]
    assert 'href="/demo/sensorium"' in call.get("/").text
    assert 'href="/demo/sensorium/mouse"' in call.get("/demo/sensorium").text


def test_the_arrays_are_read_as_they_are_stored(
    on_disk: tuple[Any, Made], disk_store: Store, run_server: Callable[..., Any]
) -> None:
    """By zarr-python, from the dataset down; kept files are not part of them."""
    call, mouse = on_disk
    with run_server(disk_store) as address:
        group = zarr.open_group(f"{address}/zarr/demo/sensorium", mode="r")
        values = mouse.arrays[0, "responses"]
        stored = group["mouse/data/responses"][:, : values.shape[1]]
        np.testing.assert_array_equal(stored, values)
        alone = zarr.open_group(f"{address}/zarr/demo/sensorium/mouse", mode="r")
        np.testing.assert_array_equal(alone["neurons/xyz"][:], mouse.coordinates)
    for key in ("files/mean.npy", "data/responses/c/99/0", "data/nothing/zarr.json"):
        assert call.get(f"/zarr/demo/sensorium/mouse/{key}").status_code == 404
