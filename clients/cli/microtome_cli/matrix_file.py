"""An affine in a file: numbers in rows, JSON, or the text that ITK and elastix write.

Source of ITK's form: ``x' = M (x - c) + c + t``, parameters M by rows, then t; fixed parameters c.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError, SourceError
from microtome_core.space import check_affine

_MOST_BYTES = 1 << 20
_FIELD = re.compile(
    r"^\s*\(?(Parameters|FixedParameters|TransformParameters|CenterOfRotationPoint)"
    r"\s*:?\s+([-+0-9.eE\s]+?)\)?\s*$",
    re.MULTILINE,
)


def read_matrix(path: str, ndim: int, micrometers: float) -> NDArray[np.float64]:
    """Return the homogeneous matrix in a file, its lengths in micrometers.

    Parameters
    ----------
    path : str
    ndim : int
        Spatial axes.
    micrometers : float
        Length of the file's unit: of a matrix from a unit to the same unit, the shift alone has it.

    Raises
    ------
    SourceError
        No such file, or one that holds no affine; the reason says why.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(path, str(error.strerror)) from error
    if len(data) > _MOST_BYTES:
        raise SourceError(path, f"{len(data)} bytes: an affine has {_MOST_BYTES} at most")
    try:
        matrix = check_affine(_numbers(data.decode(), ndim), ndim)
    except UnicodeDecodeError as error:
        reason = "no text: ConvertTransformFile of ANTs writes a .mat as text"
        raise SourceError(path, reason) from error
    except (InputError, ValueError) as error:
        raise SourceError(path, str(error)) from error
    matrix[:-1, -1] *= micrometers
    return matrix


def _numbers(text: str, ndim: int) -> Any:  # noqa: ANN401 - checked by check_affine
    if text.lstrip().startswith(("[", "{")):
        told = json.loads(text)
        return told.get("affine") if isinstance(told, dict) else told
    found = {name: np.array(words.split(), float) for name, words in _FIELD.findall(text)}
    if found:
        return _itk(found, ndim)
    rows = [line.replace(",", " ").split() for line in text.splitlines()]
    return [[float(word) for word in row] for row in rows if row and not row[0].startswith("#")]


def _itk(found: dict[str, NDArray[np.float64]], ndim: int) -> NDArray[np.float64]:
    parameters = found.get("Parameters", found.get("TransformParameters", np.zeros(0)))
    center = found.get("FixedParameters", found.get("CenterOfRotationPoint", np.zeros(ndim)))
    if parameters.size != ndim * (ndim + 1) or center.size != ndim:
        raise InputError(
            f"{parameters.size} parameters around {center.size} numbers: expected "
            f"{ndim * (ndim + 1)} of an affine around {ndim}"
        )
    linear, shift = parameters[: ndim * ndim].reshape(ndim, ndim), parameters[ndim * ndim :]
    return np.column_stack([linear, center + shift - linear @ center])
