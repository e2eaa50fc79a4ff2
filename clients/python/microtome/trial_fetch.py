"""Values and tables of a recording over HTTP, checked before anything is made of them."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from microtome.body import Body
from microtome.errors import LayerChanged, WrongAnswer
from microtome.fetch import check_version, in_parallel, pour
from microtome.transport import Transport
from microtome_core import npy
from microtome_core.bundle import LENGTH_BYTES, MEDIA_TYPE, Item, data_bytes, parse_header
from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError
from microtome_core.trials import VariableInfo

T = TypeVar("T")

_PAGE = 10_000
_HEADER_LIMIT = 64 << 20
_FILE_LIMIT = 1 << 30
# What one request asks for at most; services take 4096 arrays.
_ARRAYS = 1024
# Small enough that one is received while others are read.
_BYTES = 8 << 20

Sample = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A trial of a batch.

    Parameters
    ----------
    trial : int
    window : (int, int), optional
        Samples; all that have values by default.
    nbytes : int
        Of what comes, about.
    """

    trial: int
    window: tuple[int, int] | None
    nbytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """A recording, as a service gives it.

    Parameters
    ----------
    transport : Transport
    api : str
        The recording's JSON; all else lies below it.
    version : str
        As it was described.
    """

    transport: Transport
    api: str
    version: str

    def rows(self, what: str) -> list[dict[str, Any]]:
        """Return all rows of a table, ``trials`` or ``neurons``, page by page."""
        rows: list[dict[str, Any]] = []
        while True:
            url = f"{self.api}/{what}?limit={_PAGE}&offset={len(rows)}&format=json"
            page = self.transport.json(url)
            found, total = _page(page, what, url)
            if page.get("version") != self.version:
                raise LayerChanged(f"{url}: the recording has changed since it was opened")
            rows += found
            if len(rows) >= total or not found:
                return rows

    def window(
        self,
        trial: int,
        variable: VariableInfo,
        window: tuple[int, int] | None,
        neurons: str | None,
        *,
        stop: threading.Event | None = None,
    ) -> NDArray[Any]:
        """Return a variable of a trial, or a window of it."""
        words = {"format": "raw"}
        if window is not None:
            words["t"] = f"{window[0]}:{window[1]}"
        if neurons is not None:
            words["neurons"] = neurons
        url = f"{self.api}/trials/{trial}/{quote(variable.name)}?{urlencode(words, safe=':,')}"
        receive = partial(self._array, ",".join(variable.axes))
        return self.transport.get(url, receive, stop=stop)

    def row(self, neuron: int, variable: str, words: Mapping[str, str]) -> dict[str, NDArray[Any]]:
        """Return ``values``, ``trials`` and ``bounds`` of one neuron over trials."""
        query = urlencode({**words, "format": "npz"}, safe=",")
        return self._file(f"{self.api}/neurons/{neuron}/{quote(variable)}?{query}", _arrays)

    def statistic(self, path: str, source: str | None) -> NDArray[Any]:
        """Return a statistic, ``variable/group/name``."""
        query = f"?source={source}" if source else ""
        return self._file(f"{self.api}/statistics/{quote(path)}{query}", npy.load)

    def _file(self, url: str, read: Callable[[bytes], T]) -> T:
        """Return what `read` makes of a file of NumPy's."""

        def receive(body: Body) -> T:
            check_version(body, self.version)
            try:
                return read(body.read(_FILE_LIMIT))
            except (ValueError, OSError, KeyError) as error:
                raise WrongAnswer(f"{url}: no file of NumPy's: {error}") from error

        return self.transport.get(url, receive)

    def batch(
        self,
        wanted: Sequence[Wanted],
        variables: Sequence[str] | None,
        neurons: str | None,
        *,
        stop: threading.Event | None = None,
    ) -> list[Sample]:
        """Return the variables of many trials; a few requests for all of them."""
        width = len(variables) if variables else 1
        groups = _grouped(wanted, width)
        found: dict[int, list[Sample]] = {}

        def work(place: int, stopped: threading.Event) -> None:
            group, event = groups[place], stop or stopped
            found[place] = self._group(group, variables, neurons, event)

        in_parallel(work, range(len(groups)), self.transport.patience.parallel)
        return [sample for place in range(len(groups)) for sample in found[place]]

    def _group(
        self,
        group: Sequence[Wanted],
        variables: Sequence[str] | None,
        neurons: str | None,
        stop: threading.Event,
    ) -> list[Sample]:
        asked: dict[str, Any] = {"trials": [each.trial for each in group]}
        if variables is not None:
            asked["variables"] = list(variables)
        if any(each.window for each in group):
            asked["windows"] = [each.window for each in group]
        if neurons is not None:
            asked["neurons"] = neurons
        receive = partial(self._bundle, asked["trials"])
        url, body = f"{self.api}/trials/batch", json.dumps(asked).encode()
        return self.transport.post(url, body, receive, stop=stop)

    def _bundle(self, trials: Sequence[int], body: Body) -> list[Sample]:
        check_version(body, self.version)
        if body.header("Content-Type") != MEDIA_TYPE:
            raise WrongAnswer(f"{body.url}: {body.header('Content-Type')}, expected {MEDIA_TYPE}")
        items, taken = _header(body)
        if body.length not in (None, taken + data_bytes(items)):
            raise WrongAnswer(f"{body.url}: {body.length} bytes, which is not what it names")
        samples: list[Sample] = [{} for _ in trials]
        for item in items:
            if not (0 <= item.place < len(trials) and trials[item.place] == item.trial):
                raise WrongAnswer(f"{body.url}: trial {item.trial} was not asked for")
            if not item.withheld:
                samples[item.place][item.variable] = _received(body, item)
        return samples

    def _array(self, axes: str, body: Body) -> NDArray[Any]:
        check_version(body, self.version)
        if body.header("X-Microtome-Axes") != axes:
            given = body.header("X-Microtome-Axes")
            raise WrongAnswer(f"{body.url}: axes {given!r:.80}, expected {axes}")
        try:
            words = (body.header("X-Microtome-Shape") or "").split(",")
            shape, dtype = tuple(map(int, words)), np.dtype(body.header("X-Microtome-Dtype"))
        except (ValueError, TypeError) as error:
            raise WrongAnswer(f"{body.url}: no shape or type of values") from error
        out = np.empty(shape, little_endian(dtype))
        if body.length not in (None, out.nbytes):
            raise WrongAnswer(f"{body.url}: {body.length} bytes, expected {out.nbytes}")
        pour(body, out)
        return out.astype(dtype, copy=False)


def _page(page: Any, what: str, url: str) -> tuple[list[dict[str, Any]], int]:  # noqa: ANN401 - JSON
    said = page if isinstance(page, dict) else {}
    rows, total = said.get(what), said.get("total")
    if not (isinstance(rows, list) and type(total) is int):
        raise WrongAnswer(f"{url}: no table of {what}")
    return rows, total


def _header(body: Body) -> tuple[list[Item], int]:
    prefix = bytearray(LENGTH_BYTES)
    body.fill(memoryview(prefix))
    size = int.from_bytes(prefix, "little")
    if size > _HEADER_LIMIT:
        raise WrongAnswer(f"{body.url}: a header of {size} bytes")
    text = bytearray(size)
    body.fill(memoryview(text))
    try:
        return parse_header(bytes(text))[1], LENGTH_BYTES + size
    except InputError as error:
        raise WrongAnswer(f"{body.url}: {error}") from error


def _received(body: Body, item: Item) -> NDArray[Any]:
    dtype = np.dtype(item.dtype)
    out = np.empty(item.shape, little_endian(dtype))
    pour(body, out)
    body.fill(memoryview(bytearray(item.padding)))
    return out.astype(dtype, copy=False)


def _grouped(wanted: Sequence[Wanted], width: int) -> list[list[Wanted]]:
    groups: list[list[Wanted]] = []
    nbytes = _BYTES
    for each in wanted:
        nbytes += each.nbytes
        if nbytes > _BYTES or (len(groups[-1]) + 1) * width > _ARRAYS:
            groups.append([])
            nbytes = each.nbytes
        groups[-1].append(each)
    return groups


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    with ZipFile(BytesIO(data)) as file:
        return {name: npy.load(file.read(f"{name}.npy")) for name in ("values", "trials", "bounds")}
