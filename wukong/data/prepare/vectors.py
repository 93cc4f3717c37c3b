"""Matrices of vectors, such as content embeddings, that rows of a table refer to by number.

N rows of a piece, W columns of a matrix. NumPy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.errors import DataError
from wukong.data.columns import MOST_FLOAT32

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]


def map_matrix(path: Path) -> Matrix:
    """Map a `.npy` file of floats, (rows, W).

    Raises:
        DataError: where it does not load, or holds something else.
    """
    hint = "save the matrix with numpy.save, one row per key from 0"
    try:
        matrix = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"does not load: {error}", where=str(path), hint=hint) from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise DataError("is no matrix of floats", where=str(path), hint=hint)
    return matrix


def look_up(matrix: Matrix, key_N: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the row of each key, float32 (N, W), zeros where there is none.

    Args:
        key_N: whole numbers ≥ 0, of any size; NaN has no row.

    What overflows float32 becomes infinite.
    """
    known_N = key_N < len(matrix)
    found_NW = np.zeros((len(key_N), matrix.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore"):
        found_NW[known_N] = matrix[key_N[known_N].astype(np.int64)]
    return found_NW


def is_finite(vector_NW: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether all numbers of a vector are finite and safely so, bool (N,)."""
    return np.all(np.abs(vector_NW) <= MOST_FLOAT32, axis=1)
