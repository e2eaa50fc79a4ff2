"""The service keeps to its own OpenAPI document, whatever is thrown at it."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from microtome_core.store.location import Store
from tests.recording_made import make_recording

LAYER = "/api/datasets/{collection}/{dataset}/{layer}"
DATASET = "/api/datasets/{collection}/{dataset}"
RECORDING = f"{DATASET}/{{recording}}"
VOLUME = "/precomputed/{collection}/{dataset}/{layer}"
SKELETON = "/precomputed/{collection}/{dataset}/annotations/{name}"
PATHS = [
    "/api/datasets",
    "/api/datasets/{collection}/{dataset}",
    LAYER,
    f"{LAYER}/cutout",
    f"{LAYER}/cutouts",
    f"{LAYER}/spaces",
    f"{LAYER}/transform",
    f"{LAYER}/points",
    f"{LAYER}/ids",
    f"{LAYER}/ids/{{id}}",
    f"{LAYER}/record",
    f"{LAYER}/tiles/{{plane}}/{{level}}/{{index}}/{{row}}/{{col}}.{{extension}}",
    f"{LAYER}/thumbnail.png",
    f"{LAYER}/montage.webp",
    f"{LAYER}/histogram.{{form}}",
    f"{RECORDING}/picture.webp",
    f"{RECORDING}/trials",
    f"{RECORDING}/trials/batch",
    f"{RECORDING}/trials/{{trial}}",
    f"{RECORDING}/trials/{{trial}}/{{variable}}",
    f"{RECORDING}/neurons",
    f"{RECORDING}/neurons/{{neuron}}/{{variable}}",
    f"{RECORDING}/statistics/{{variable}}/{{group}}/{{statistic}}",
    f"{DATASET}/trials",
    f"{DATASET}/trials/{{trial}}/{{variable}}",
    f"{DATASET}/neurons/{{neuron}}/{{variable}}",
    *[
        f"{VOLUME}{view}/{file}"
        for view in ("", "/{variant}")
        for file in ("info", "segment_properties/info", "{key}/{chunk}")
    ],
    f"{SKELETON}/skeletons/info",
    f"{SKELETON}/skeletons/segment_properties/info",
    f"{SKELETON}/skeletons/{{segment}}",
    f"{SKELETON}/{{kind}}/info",
    f"{SKELETON}/{{kind}}/spatial0/0_0_0",
    f"{SKELETON}/{{kind}}/by_id/{{number}}",
    "/api/scenes/{collection}/{dataset}",
    "/api/schema/{schema}.json",
    "/health/live",
    "/health/ready",
    "/metrics",
]
METHODS = {
    f"{RECORDING}/trials/batch": "POST",
    f"{LAYER}/cutouts": "POST",
    f"{LAYER}/transform": "POST",
    f"{LAYER}/points": "POST",
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def openapi_address(
    make_builder: Callable[..., Any], run_server: Callable[..., Any]
) -> Iterator[str]:
    """A server of a layer whose name is the one that the document's examples use."""
    store = Store("memory://openapi")
    voxels = np.random.default_rng(0).integers(0, 255, (2, 16, 24, 32), "uint8")
    make_builder(store).layer("demo/brainbow/brain", "czyx", voxels, levels=2)
    make_recording(store, "demo/brainbow/mouse")
    with run_server(store) as address:
        yield address


@pytest.fixture(scope="module")
def openapi_schema(openapi_address: str) -> Any:  # noqa: ANN401 - schemathesis' own
    """The document, as schemathesis reads it over HTTP."""
    return schemathesis.openapi.from_url(f"{openapi_address}/openapi.json")


def _check(
    strategy: st.SearchStrategy[Any],
    names: dict[str, Any],
    examples: int,
    number: int | None = None,
) -> None:
    @(lambda test: test if number is None else seed(number)(test))
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def check(case: Any) -> None:  # noqa: ANN401 - schemathesis' own
        case.path_parameters = {**case.path_parameters, **names}
        case.call_and_validate(checks=CHECKS)

    check()


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_as_documented(
    path: str,
    openapi_schema: Any,  # noqa: ANN401 - schemathesis' own
) -> None:
    """For examples and random input: no 5xx, only documented statuses, content types and JSON."""
    _check(openapi_schema[path][METHODS.get(path, "GET")].as_strategy(), {}, 10)


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/api/")])
def test_wrong_input_is_answered_as_documented(
    path: str,
    openapi_schema: Any,  # noqa: ANN401 - schemathesis' own
) -> None:
    """The same holds for input that breaks the document's own rules."""
    wrong = openapi_schema[path][METHODS.get(path, "GET")].as_strategy(
        generation_mode=GenerationMode.NEGATIVE
    )
    _check(wrong, {}, 10)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith(LAYER)])
def test_queries_of_a_layer_that_is_there_are_answered_as_documented(
    path: str,
    mode: GenerationMode,
    openapi_schema: Any,  # noqa: ANN401 - schemathesis' own
) -> None:
    """The same holds where the address is right and the query is anything."""
    there = {"collection": "demo", "dataset": "brainbow", "layer": "brain"}
    if "plane" in path:
        there |= {"plane": "xz", "level": "1", "index": "3", "row": "0", "col": "0"}
        there |= {"extension": "png"}
    _check(
        openapi_schema[path][METHODS.get(path, "GET")].as_strategy(generation_mode=mode), there, 15
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("path", "mode"),
    # Of an address without a word nothing can be wrong.
    [(p, mode) for p in PATHS for mode in GenerationMode if "{" in p or mode.is_positive],
)
def test_a_hundred_others_are_answered_as_documented(
    path: str,
    mode: GenerationMode,
    openapi_schema: Any,  # noqa: ANN401 - schemathesis' own
) -> None:
    """The same holds for a hundred cases of each, others for another MICROTOME_SEED."""
    number = int(os.environ.get("MICROTOME_SEED", "1"))
    operation = openapi_schema[path][METHODS.get(path, "GET")]
    _check(operation.as_strategy(generation_mode=mode), {}, 100, number)


def test_these_are_all_operations(openapi_schema: Any) -> None:  # noqa: ANN401 - schemathesis' own
    """No operation of the document is left out above."""
    assert sorted(openapi_schema) == sorted(PATHS)


def test_every_operation_is_described_in_full(openapi_address: str) -> None:
    """Each operation has a summary and a description, each parameter a description and an example,
    and every error is a problem document.
    """
    document = httpx.get(f"{openapi_address}/openapi.json").json()
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    # Cutouts are read, written and merged by one path, records read and merged.
    assert len(operations) == len(PATHS) + 3
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        for parameter in operation.get("parameters", []):
            assert parameter["description"], parameter
            assert parameter["schema"].get("examples"), parameter
        for status, response in operation["responses"].items():
            if status >= "4":
                assert list(response["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps([o["responses"] for o in operations])


def test_the_examples_of_the_document_work(openapi_address: str) -> None:
    """A cutout, a batch and a tile by the document's own examples are 200."""
    api = f"{openapi_address}/api/datasets/demo/brainbow/brain"
    assert httpx.get(f"{api}/cutout?level=0&c=0:2&z=0:8").status_code == 200
    boxes = {"boxes": [[[0, 2], [0, 2], [0, 8], [0, 8]], [[0, 2], [0, 2], [8, 16], [3, 11]]]}
    assert httpx.post(f"{api}/cutouts", json=boxes).status_code == 200
    assert httpx.get(f"{api}/tiles/xy/0/0/0/0.png?channels=0&window=0:4095").status_code == 200
    volume = f"{openapi_address}/precomputed/demo/brainbow/brain"
    assert httpx.get(f"{volume}/c0-raw/0/0-8_0-8_0-8").status_code == 200
