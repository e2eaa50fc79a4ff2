"""Metrics are scikit-learn's, class by class."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import InputError
from microtome.metrics import Scores, score
from tests.later import Later

sklearn = Later("sklearn.metrics")

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(PAIRS)
@settings(max_examples=25, deadline=None)
def test_numbers_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Also of classes that are never predicted, or never true."""
    truth, predicted = np.array(pairs).T
    found, classes = score(truth, predicted, 4), list(range(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn.precision_recall_fscore_support(truth, predicted, labels=classes)
        iou = sklearn.jaccard_score(truth, predicted, labels=classes, average=None)
    each = (found.precision, found.recall, found.f1, found.support)
    for ours, theirs in zip((*each, found.iou), (*expected, iou), strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_array_equal(
        found.matrix, sklearn.confusion_matrix(truth, predicted, labels=classes)
    )
    assert found.accuracy == pytest.approx(sklearn.accuracy_score(truth, predicted))
    for number in classes:
        alone = sklearn.accuracy_score(truth == number, predicted == number)
        assert found.accuracies[number] == pytest.approx(alone)


def test_scores_of_batches_add_up() -> None:
    """Batch by batch is as all at once, in any shape and integer type."""
    rng = np.random.default_rng(3)
    truth, predicted = rng.integers(0, 3, (2, 4, 5, 6), "uint8")
    parts = [score(truth[i].astype("uint64"), predicted[i], 3) for i in range(4)]
    whole = score(truth, predicted, 3)
    np.testing.assert_array_equal(sum(parts, Scores.none(3)).matrix, whole.matrix)
    assert Scores.none(3).accuracy == 0


def test_scores_are_shown_as_a_table() -> None:
    """A line for each class, by name, and their mean."""
    table = score([0, 1, 1, 1], [0, 1, 1, 0], 2).table(("background", "vessel"))
    lines = [line.split() for line in table.splitlines()]
    assert lines[2] == ["vessel", "0.667", "0.800", "1.000", "0.667", "0.750"]
    assert lines[3][:2] == ["mean", "0.583"]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([0, 1], [0], r"shape \(1,\), expected \(2,\)"),
        ([0, 2], [0, 1], "truth holds class 2: expected 0 to 1"),
        ([0, 1], [-1, 1], "predicted holds class -1"),
        ([0.0, 1.0], [0, 1], "truth is of type float64"),
    ],
)
def test_what_are_no_classes_is_refused(truth: object, predicted: object, message: str) -> None:
    """The value is named."""
    with pytest.raises(InputError, match=message):
        score(truth, predicted, 2)  # type: ignore[arg-type]
