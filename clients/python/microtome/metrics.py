"""How well predicted classes agree with true ones: a confusion matrix, and what follows from it.

The definitions, and so the numbers, are scikit-learn's (user guide, "Classification metrics").
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microtome.errors import InputError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a confusion matrix says; scores of parts are added: ``sum(parts, Scores.none(4))``.

    Each property has a number for every class. Where a class is neither predicted nor true its
    ratios are 0 / 0, which counts as 0, as in scikit-learn.

    Parameters
    ----------
    matrix : ndarray of int
        Samples of true class `i` that were predicted as `j`: (classes, classes).

    Examples
    --------
    >>> scores = score([0, 0, 1, 1], [0, 1, 1, 1], 2)
    >>> scores.accuracy, scores.recall.tolist(), scores.iou.round(2).tolist()
    (0.75, [0.5, 1.0], [0.5, 0.67])
    """

    matrix: NDArray[np.int64]

    @classmethod
    def none(cls, classes: int) -> "Scores":
        """Return the scores of nothing yet."""
        return cls(np.zeros((classes, classes), np.int64))

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.matrix + other.matrix)

    @property
    def support(self) -> NDArray[np.int64]:
        """How many samples are of each class."""
        return np.asarray(self.matrix.sum(axis=1))

    @property
    def accuracy(self) -> float:
        """The share of samples that are right, over all classes."""
        return float(np.trace(self.matrix) / max(self.matrix.sum(), 1))

    @property
    def accuracies(self) -> Numbers:
        """The share of samples rightly said to be, or not to be, of each class."""
        wrong = self._missed + self._wrong
        return 1 - wrong / max(int(self.matrix.sum()), 1)

    @property
    def precision(self) -> Numbers:
        """The share of what is predicted as a class that is of it."""
        return _ratio(self._right, self._right + self._wrong)

    @property
    def recall(self) -> Numbers:
        """The share of a class that is predicted as it."""
        return _ratio(self._right, self._right + self._missed)

    @property
    def f1(self) -> Numbers:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self._right, 2 * self._right + self._wrong + self._missed)

    @property
    def iou(self) -> Numbers:
        """Intersection over union (Jaccard's index)."""
        return _ratio(self._right, self._right + self._wrong + self._missed)

    def table(self, names: "list[str] | tuple[str, ...] | None" = None) -> str:
        """Return the scores as text, a line for each class and one for their mean."""
        named = list(names or map(str, range(len(self.matrix))))
        columns = [self.iou, self.f1, self.precision, self.recall, self.accuracies]
        lines = [f"{'':12} {'IoU':>9} {'F1':>9} {'precision':>9} {'recall':>9} {'accuracy':>9}"]
        for name, values in zip(named, zip(*columns, strict=True), strict=True):
            lines.append(" ".join([f"{name:12}", *(f"{value:9.3f}" for value in values)]))
        means = (float(column.mean()) for column in columns)
        return "\n".join([*lines, " ".join([f"{'mean':12}", *(f"{m:9.3f}" for m in means)])])

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.diag(self.matrix)

    @property
    def _wrong(self) -> NDArray[np.int64]:
        return np.asarray(self.matrix.sum(axis=0) - self._right)

    @property
    def _missed(self) -> NDArray[np.int64]:
        return np.asarray(self.matrix.sum(axis=1) - self._right)


def score(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Scores:
    """Return the scores of predicted classes.

    Parameters
    ----------
    truth, predicted : array_like of int
        Of one shape; classes are 0 to ``classes - 1``.
    classes : int
        How many there are.

    Raises
    ------
    InputError
        Other shapes, no integers, or a class that there is not.
    """
    true, said = np.asarray(truth), np.asarray(predicted)
    if true.shape != said.shape:
        raise InputError(f"predicted has shape {said.shape}, expected {true.shape}")
    for name, values in (("truth", true), ("predicted", said)):
        _check_classes(name, values, classes)
    index = true.astype(np.int64).ravel() * classes + said.astype(np.int64).ravel()
    matrix = np.bincount(index, minlength=classes**2).reshape(classes, classes)
    return Scores(matrix.astype(np.int64))


def _check_classes(name: str, values: NDArray[Any], classes: int) -> None:
    if values.size and values.dtype.kind not in "iub":
        raise InputError(f"{name} is of type {values.dtype}: expected classes as integers")
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < classes:
        wrong = values.min() if values.min() < 0 else values.max()
        raise InputError(f"{name} holds class {wrong}: expected 0 to {classes - 1}")


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Numbers:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
