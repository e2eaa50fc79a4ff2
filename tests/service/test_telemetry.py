"""Traces are made where they are asked for, and cost nothing else."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from microtome_core.errors import InputError
from microtome_core.store.location import Store
from microtome_service.telemetry import to_exporter
from microtome_service.tracing import open_tracing

CUTOUT = "/api/datasets/demo/brain/neurons/cutout"


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans."""
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_a_request_its_read_and_its_encoding_are_spans(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """They are one trace, the caller's where it names one, with template, status and bytes."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", np.ones((4, 8, 8), "uint8"))
    kept = Kept()
    call = connect(disk_store)
    tracing = to_exporter(kept)
    call.app.state.service.tracing = tracing
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = call.get(f"{CUTOUT}?format=tiff", headers=headers)
    tracing.close()
    read, encode, request = kept.spans
    assert [read.name, encode.name] == ["read", "encode"]
    assert request.name == "GET /api/datasets/{collection}/{dataset}/{layer}/cutout"
    assert {f"{span.context.trace_id:032x}" for span in kept.spans} == {trace}
    assert read.parent.span_id == encode.parent.span_id == request.context.span_id
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.response.body.size"] == len(answer.content)


def test_traces_without_their_libraries_are_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only where traces are asked for; without an endpoint nothing is imported."""
    monkeypatch.delitem(sys.modules, "microtome_service.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert open_tracing("") is None
    with pytest.raises(InputError, match=r"the extra 'telemetry' of microtome"):
        open_tracing("http://collector:4318")
