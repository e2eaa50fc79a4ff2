"""A recording of trials as objects of NWB and of its extension ndx-microscopy.

Arrays are time first. Videos are frame, x, y, as the schema of an ``ImageSeries`` says. Of neurons
no masks are made up: a row is what the source says of them. What a source has no values of, or
withholds, has no frames.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ndx_microscopy as ndx
import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.data_utils import AbstractDataChunkIterator, DataChunk
from numpy.typing import NDArray
from pynwb import NWBFile, TimeSeries
from pynwb.behavior import BehavioralTimeSeries, EyeTracking, PupilTracking, SpatialSeries
from pynwb.image import ImageSeries

from microtome_core.errors import InputError
from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Piece
from microtome_ingest.export.nwb_file import plain_name
from microtome_ingest.export.nwb_images import LEVEL
from microtome_ingest.export.nwb_trial_tables import LAID, segmentation, trials_table
from microtome_ingest.export.trial_times import Timeline, Track, lay, rate_of

_OPHYS, _BEHAVIOR = "ophys", "behavior"
_MODULES = {
    _OPHYS: "What was found in images.",
    _BEHAVIOR: "What the animal did during the trials.",
}
_CHUNK_BYTES = 1 << 20
_CHUNK_FRAMES = 256
# What NWB takes where there is no unit, or none is known.
_NO_UNIT = "n.a."
_PUPIL = "pupil dilation"


class _Chunks(AbstractDataChunkIterator):  # type: ignore[misc]
    """Hands the frames of a track to hdmf, a trial at a time, or less of one that is large.

    Parameters
    ----------
    track : Track
    shape : tuple of int
        Time first.
    dtype : dtype
    read : callable
        Of a piece, its first and last frame: an array, time first.
    count : callable
        Is told of the bytes that were read.
    """

    def __init__(
        self,
        track: Track,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[..., NDArray[Any]],
        count: Callable[[int], None],
    ) -> None:
        self._windows = track.windows()
        self._shape, self._dtype, self._read, self._count = shape, dtype, read, count

    def __iter__(self) -> Iterator[DataChunk]:
        return self

    def __next__(self) -> DataChunk:
        piece, start, stop, first = next(self._windows)
        values = np.ascontiguousarray(self._read(piece, start, stop), self._dtype)
        self._count(values.nbytes)
        lead = (slice(0, extent) for extent in self._shape[1:])
        return DataChunk(data=values, selection=(slice(first, first + stop - start), *lead))

    def recommended_chunk_shape(self) -> tuple[int, ...]:
        frames = min(self._shape[0], _CHUNK_FRAMES)
        if len(self._shape) == 1:
            return (min(self._shape[0], _CHUNK_BYTES // self._dtype.itemsize),)
        room = max(1, _CHUNK_BYTES // (frames * self._dtype.itemsize))
        if len(self._shape) == 2:
            return frames, min(self._shape[1], room)
        frame = int(np.prod(self._shape[1:])) * self._dtype.itemsize
        return max(1, min(self._shape[0], _CHUNK_BYTES // frame)), *self._shape[1:]

    def recommended_data_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def maxshape(self) -> tuple[int, ...]:
        return self._shape


@dataclass(frozen=True, slots=True)
class Trials:
    """A recording on its way into a file.

    Parameters
    ----------
    recording : Recording
    timeline : Timeline
    count : callable
        Is told of the bytes that were read.
    """

    recording: Recording
    timeline: Timeline
    count: Callable[[int], None]

    def add_to(self, nwb: NWBFile) -> None:
        """Add all of it: neurons and responses, stimuli, behaviour and the table of trials.

        Raises
        ------
        InputError
            Values that NWB has no type for, or responses of two numbers of neurons.
        StorageError
        """
        neurons = self._neurons()
        table = None
        if neurons:
            table = segmentation(self.recording, neurons, _free("neurons", nwb, _OPHYS))
            _module(nwb, _OPHYS).add(table)
        for track in self.timeline.tracks:
            self._add(nwb, track, table)
        nwb.trials = trials_table(self.recording, self.timeline)

    def _neurons(self) -> int:
        """Return how many neurons there are; 0 where nothing is of neurons."""
        counts = {array.shape[0] for v in self._of_neurons() for array in v.arrays}
        counts |= {column.shape[0] for column in self.recording.neurons.values()}
        if len(counts) > 1:
            raise InputError(
                f"{self.recording.id}: speaks of {' and of '.join(map(str, sorted(counts)))} "
                "neurons, and NWB has one table of them: export sensorium"
            )
        return max(counts, default=0)

    def _of_neurons(self) -> list[Any]:
        return [v for v in self.recording.variables.values() if v.axes[0] == "neuron"]

    def _add(self, nwb: NWBFile, track: Track, table: Any) -> None:  # noqa: ANN401 - of an untyped library
        facts = self.recording.variables[track.variable]
        match facts.axes:
            case ["neuron", "time"]:
                rois = table.create_roi_table_region(description="All neurons, in their order.")
                series = ndx.MicroscopyResponseSeries(rois=rois, **self._series(track))
                name = _free(track.name, nwb, _OPHYS)
                box = ndx.MicroscopyResponseSeriesContainer(
                    name=name, microscopy_response_series=[series]
                )
                _module(nwb, _OPHYS).add(box)
            case ["y", "x", "time"]:
                nwb.add_stimulus(self._video(track))
            case ["coordinate", "time"] if track.lead[0] <= 3:
                where = "Where 0, 0 lies and in which unit is not said by the source."
                gaze = SpatialSeries(**self._series(track), reference_frame=where)
                name = _free("EyeTracking", nwb, _BEHAVIOR)
                _module(nwb, _BEHAVIOR).add(EyeTracking(name=name, spatial_series=gaze))
            case ["signal", "time"] if facts.rows and len(facts.rows) == track.lead[0]:
                for row, word in enumerate(facts.rows):
                    self._add_signal(nwb, track, row, word)
            case _:
                self._add_other(nwb, track)

    def _video(self, track: Track) -> ImageSeries:
        """Return what was shown, x before y."""
        made = self._series(track, turned=True)
        words = "Axes are frame, x, y."
        return ImageSeries(
            **{**made, "description": f"{made['description']} {words}"},
            dimension=list(track.lead[::-1]),
        )

    def _add_signal(self, nwb: NWBFile, track: Track, row: int, word: str) -> None:
        """Add one row of behaviour, under the type that NWB has for it."""
        kind = PupilTracking if word == _PUPIL else BehavioralTimeSeries
        series = TimeSeries(**self._series(track, row=row, word=word))
        module = _module(nwb, _BEHAVIOR)
        if kind.__name__ in module.data_interfaces and not track.array:
            module[kind.__name__].add_timeseries(series)
            return
        name = _free(kind.__name__, nwb, _BEHAVIOR)
        module.add(kind(name=name, time_series=series))

    def _add_other(self, nwb: NWBFile, track: Track) -> None:
        """Add what the format has no meaning for."""
        made = self._series(track)
        made["name"] = plain_name(made["name"], list(nwb.acquisition))
        nwb.add_acquisition(TimeSeries(**made))

    def _series(
        self, track: Track, *, turned: bool = False, row: int | None = None, word: str = ""
    ) -> dict[str, Any]:
        """Return what every series has; `turned` reverses the axes of a frame, `row` is one."""
        facts = self.recording.variables[track.variable]
        lead = () if row is not None else track.lead[::-1] if turned else track.lead
        dtype = _numeric(self.recording, track)
        words = f"{word or track.variable} of {self.recording.id}, trial after trial."
        if row is None and facts.rows:
            words += f" Columns: {', '.join(facts.rows)}."

        def read(piece: Piece, start: int, stop: int) -> NDArray[Any]:
            rows = None if row is None else slice(row, row + 1)
            values = self.recording.load(track.variable, piece.number, start, stop, rows)
            if row is not None:
                values = values[0]
            return values.T if turned else np.moveaxis(values, -1, 0)

        chunks = _Chunks(track, (track.frames, *lead), dtype, read, self.count)
        name = plain_name(word.replace(" ", "_") or track.name)
        return {
            "name": f"{name}-{track.array + 1}" if word and track.array else name,
            "description": words,
            "comments": self._comments(track),
            "data": _deflated(chunks),
            "unit": facts.unit or _NO_UNIT,
            **self._when(track),
        }

    def _when(self, track: Track) -> dict[str, Any]:
        """Return the rate of frames, or the time of each where some trials have none."""
        if track.regular:
            return {"rate": float(track.rate), "starting_time": float(track.starts[0])}
        begins = {p.number: float(s) for p, s in zip(track.pieces, track.starts, strict=True)}

        def times(piece: Piece, start: int, stop: int) -> NDArray[Any]:
            seconds: NDArray[Any] = begins[piece.number] + np.arange(start, stop) / float(rate)
            return seconds

        rate = track.rate
        chunks = _Chunks(track, (track.frames,), np.dtype("f8"), times, lambda _: None)
        return {"timestamps": _deflated(chunks)}

    def _comments(self, track: Track) -> str:
        facts = self.recording.variables[track.variable]
        states = [trial.pieces[track.variable].state for trial in self.recording.trials]
        words = [f"{LAID} Column {track.name}_start_index of the trials is where each begins."]
        if states.count("withheld"):
            words.append(
                f"Those of {states.count('withheld')} trials are withheld by whoever published "
                f"them and are not in here: see column {track.variable}_withheld of the trials."
            )
        if facts.unit is None:
            words.append("The source does not say the unit.")
        if rate_of(facts) is None:
            words.append("The rate is not known: seconds are numbers of frames.")
        return " ".join(words)


def trials_of(recording: Recording, count: Callable[[int], None], *, guess: bool = False) -> Trials:
    """Return a recording with its trials laid in time.

    Raises
    ------
    InputError
        As `lay`.
    """
    return Trials(recording, lay(recording, guess=guess), count)


def _numeric(recording: Recording, track: Track) -> np.dtype[Any]:
    """Return the dtype that is written: truths as bytes, half floats as floats, others as is."""
    kind: dict[str, str] = {"bool": "u1", "float16": "f4"}
    found = np.dtype(kind.get(track.dtype.name, track.dtype))
    if found.kind not in "iuf":
        raise InputError(f"{recording.id}: {track.variable} are {found}, and NWB has none of these")
    return found


def _deflated(chunks: _Chunks) -> H5DataIO:
    return H5DataIO(chunks, compression="gzip", compression_opts=LEVEL, shuffle=True)


def _module(nwb: NWBFile, name: str) -> Any:  # noqa: ANN401 - of an untyped library
    if name not in nwb.processing:
        nwb.create_processing_module(name, _MODULES[name])
    return nwb.processing[name]


def _free(name: str, nwb: NWBFile, module: str) -> str:
    """Return a name that nothing in a processing module has."""
    return plain_name(name, list(_module(nwb, module).data_interfaces))
