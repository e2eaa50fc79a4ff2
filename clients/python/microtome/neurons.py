"""The table of a recording's neurons."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.errors import NotFound, WrongAnswer
from microtome_core.trials import ColumnInfo, RecordingInfo


class NeuronTable(Mapping[str, NDArray[Any]]):
    """Columns by name, with one row a neuron: ``neurons["cell_motor_coordinates"]``.

    Parameters
    ----------
    name : str
        Of the recording.
    info : RecordingInfo
    rows : sequence of dict
        As the service sends them.
    """

    def __init__(self, name: str, info: RecordingInfo, rows: Sequence[Mapping[str, Any]]) -> None:
        self._name, self._info = name, {column.name: column for column in info.columns}
        try:
            self._columns = {
                column.name: np.array([row[column.name] for row in rows], _dtype(column))
                for column in info.columns
            }
        except (TypeError, ValueError, LookupError) as error:
            raise WrongAnswer(f"{name}: a table of no neurons: {error!r:.200}") from error
        self.count = len(rows)

    @property
    def columns(self) -> Mapping[str, ColumnInfo]:
        """Type, unit and parts of each column."""
        return self._info

    @property
    def coordinates(self) -> NDArray[Any]:
        """Where each neuron lies: (neurons, 3) of x, y, z in the unit of its column, mostly µm.

        Raises
        ------
        NotFound
            No column has coordinates.
        """
        for name, column in self._info.items():
            if column.shape == (3,) and (column.unit or "coordinates" in name):
                return self._columns[name]
        raise NotFound(f"{self._name} has no coordinates of neurons: it has {', '.join(self)}")

    @property
    def unit(self) -> str | None:
        """Unit of `coordinates`."""
        units = [c.unit for c in self._info.values() if c.shape == (3,)]
        return units[0] if units else None

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise NotFound(f"{self._name} has no column {name!r:.80}: it has {', '.join(self)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<microtome.NeuronTable of {self._name}: {self.count} neurons, {', '.join(self)}>"


def _dtype(column: ColumnInfo) -> np.dtype[Any]:
    return np.dtype(column.dtype)
