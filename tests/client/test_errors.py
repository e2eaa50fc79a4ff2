"""Errors tell what the caller can do, and travel between processes."""

import pickle

import pytest

from microtome import errors


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (400, (errors.RegionError, IndexError, ValueError)),
        (401, (errors.AccessDenied, PermissionError)),
        (403, (errors.AccessDenied, PermissionError)),
        (404, (errors.NotFound, LookupError)),
        (413, (errors.TooLarge, errors.InputError)),
        (429, (errors.Unavailable, OSError)),
        (503, (errors.StorageError, OSError)),
        (500, (errors.ServiceError,)),
        (799, (errors.ServiceError,)),
    ],
)
def test_a_status_is_an_error_of_its_kind(status: int, kinds: tuple[type[Exception], ...]) -> None:
    """Each status is caught by the vocabulary's name and by Python's own."""
    error = errors.from_answer(status, "words", "http://host/x", 2.0)
    assert isinstance(error, errors.ServiceError)
    assert all(isinstance(error, kind) for kind in kinds)
    assert str(error).startswith(f"words ({status}")


@pytest.mark.parametrize("status", [400, 401, 404, 413, 418, 503])
def test_errors_are_pickled_whole(status: int) -> None:
    """A worker's error arrives with its message, status, address and wait."""
    error = errors.from_answer(status, "words", "http://host/x", 2.0)
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert (other.status, other.url, other.retry_after) == (status, "http://host/x", 2.0)


def test_every_public_error_is_a_microtome_error() -> None:
    """One name catches all."""
    kinds = [getattr(errors, name) for name in errors.__all__ if name != "from_answer"]
    assert all(issubclass(kind, errors.MicrotomeError) for kind in kinds)
