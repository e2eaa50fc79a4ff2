"""Labels by their ids: which there are, how far one reaches, and where it is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.described import Described
from microtome.errors import InputError, LayerChanged, RegionError, WrongAnswer
from microtome.indexing import Cut, parse_index
from microtome.stored import StoredSource

Box = tuple[slice, ...]


class Labels(Described):
    """What volumes of labels answer; images refuse."""

    __slots__ = ()

    def ids(self, key: object = ...) -> NDArray[Any]:
        """Return the ids that occur in a region, sorted, without 0; no voxel is sent.

        Parameters
        ----------
        key : index, optional
            What would stand within the brackets, without steps: ``np.s_[0:64, :512]``. All of it by
            default.

        Raises
        ------
        InputError
            An image, or a region with steps.
        TooLarge
            More than the service looks through at once.

        Examples
        --------
        ``for i in seg.ids(): print(i, seg.bbox(i))``
        """
        self._check_labels()
        cut = self._box(key)
        if not cut.size:
            return np.zeros(0, self.dtype)
        source = self._source
        if isinstance(source, StoredSource):
            return np.array(source.ids(cut), self.dtype)
        said = self._said(f"ids?{self._words(cut)}")
        try:
            return np.array([int(word) for word in said["ids"]], self.dtype)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise WrongAnswer(f"{self.address.api}/ids: {error!r}") from error

    def bbox(self, label: int, key: object = ...) -> Box:
        """Return the smallest box that holds an id, as an index: ``seg[seg.bbox(7)]``.

        Parameters
        ----------
        label : int
            The id.
        key : index, optional
            Where to look, as in `ids`; the box is counted from the volume's own origin.

        Raises
        ------
        NotFound
            No voxel of that id.
        """
        self._check_labels()
        number, cut = _whole(label), self._box(key)
        if not cut.size:
            raise RegionError(f"{key!r:.200} holds no voxel of {self.id}")
        source = self._source
        if isinstance(source, StoredSource):
            return source.reach(number, cut)
        said = self._said(f"ids/{number}?{self._words(cut)}")
        try:
            box = tuple(slice(int(a), int(b)) for a, b in zip(said["start"], said["stop"],
                                                              strict=True))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise WrongAnswer(f"{self.address.api}/ids/{number}: {error!r}") from error
        if len(box) != self.ndim:
            raise WrongAnswer(f"{self.address.api}/ids/{number}: {len(box)} ranges of {self.axes}")
        return box

    def mask(self, label: int, key: object = None) -> NDArray[np.bool_]:
        """Return where an id is: True in its voxels.

        Parameters
        ----------
        label : int
            The id.
        key : index, optional
            Of which region; by default of `bbox`, the smallest that holds all of it.
        """
        self._check_labels()
        number = _whole(label)
        cut = parse_index(self.bbox(number) if key is None else key, self.shape, self.axes)
        block = cut.finish(self._voxels(cut))
        limits = np.iinfo(self.dtype)
        if not limits.min <= number <= limits.max:
            return np.zeros(np.shape(block), bool)
        return np.asarray(block == self.dtype.type(number))

    def _check_labels(self) -> None:
        if self.kind != "labels":
            raise InputError(f"{self.id} is an image: its voxels are no ids")

    def _box(self, key: object) -> Cut:
        cut = parse_index(key, self.shape, self.axes)
        if any(abs(positions.step) != 1 and len(positions) > 1 for positions in cut.ranges):
            raise InputError(f"{key!r:.200}: expected a region without steps")
        return cut

    def _words(self, cut: Cut) -> str:
        ranges = zip(self.axes, cut.ascending, strict=True)
        words = "&".join(f"{axis}={r[0]}:{r[-1] + 1}" for axis, r in ranges)
        return f"level={self.level_index}&{words}"

    def _said(self, rest: str) -> dict[str, Any]:
        url = f"{self.address.api}/{rest}"

        def receive(body: Any) -> Any:  # noqa: ANN401 - a Body in, JSON out
            if body.header("X-Microtome-Version") not in (None, self.info.version):
                raise LayerChanged(
                    f"{url}: the layer has changed since it was opened: open it again"
                )
            return body.json(256 << 20)

        said = self.transport.get(url, receive)
        if not isinstance(said, dict):
            raise WrongAnswer(f"{url}: expected a JSON object")
        return said


def _whole(label: object) -> int:
    if isinstance(label, (bool, np.bool_)) or not hasattr(label, "__index__"):
        raise InputError(f"id {label!r:.80}: expected an integer")
    return int(label.__index__())
