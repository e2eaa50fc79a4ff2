"""Traces for OpenTelemetry. Imported where they are asked for alone: its libraries are an extra."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind
from starlette.types import Scope

from microtome_core import __version__
from microtome_service.exchange import Exchange


class Tracing:
    """Spans of requests, reads and encodings.

    Parameters
    ----------
    provider : TracerProvider
        Closed with the service.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("microtome", __version__)
        self._provider = provider

    @contextmanager
    def request(self, scope: Scope, exchange: Exchange) -> Iterator[None]:
        """Trace a whole request, as a part of the caller's trace where it names one."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"], context=extract(headers), kind=SpanKind.SERVER
        ) as span:
            try:
                yield
            finally:
                span.update_name(f"{scope['method']} {exchange.route}")
                span.set_attribute("http.route", exchange.route)
                span.set_attribute("http.response.status_code", exchange.status)
                span.set_attribute("http.response.body.size", exchange.sent)
                span.set_attribute("microtome.request_id", exchange.id)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Trace one step."""
        with self._tracer.start_as_current_span(name):
            yield

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def to_endpoint(endpoint: str) -> Tracing:
    """Return what sends traces to an OTLP endpoint over HTTP."""
    return to_exporter(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces"))


def to_exporter(exporter: SpanExporter) -> Tracing:
    """Return what hands traces to `exporter`."""
    resource = Resource.create({"service.name": "microtome", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)
