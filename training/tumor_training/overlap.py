"""How well a predicted tumour covers the labelled one, from counts of pixels.

All take arrays of counts, one entry per patient or slice, and give NaN where a measure is not defined.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64] | npt.NDArray[np.float64]
Values = npt.NDArray[np.float64]


def dice(overlap: Counts, predicted: Counts, labelled: Counts) -> Values:
    """Dice coefficient, in [0, 1]: 2|P∩L| / (|P| + |L|); 1 where neither has a pixel (Dice 1945).

    Args:
        overlap: pixels in both, any shape.
        predicted: pixels predicted, same shape.
        labelled: pixels labelled, same shape.
    """
    return _ratio(2 * overlap, predicted + labelled, empty=1.0)


def iou(overlap: Counts, predicted: Counts, labelled: Counts) -> Values:
    """Intersection over union (Jaccard index), in [0, 1]; 1 where neither has a pixel."""
    return _ratio(overlap, predicted + labelled - overlap, empty=1.0)


def sensitivity(overlap: Counts, labelled: Counts) -> Values:
    """Part of the labelled pixels that were predicted, in [0, 1]; not defined without a labelled pixel."""
    return _ratio(overlap, labelled)


def precision(overlap: Counts, predicted: Counts) -> Values:
    """Part of the predicted pixels that are labelled, in [0, 1]; not defined without a predicted pixel."""
    return _ratio(overlap, predicted)


def volume_error(predicted: Counts, labelled: Counts) -> Values:
    """Relative error of the volume, at least -1: (|P| - |L|) / |L|; not defined without a labelled pixel."""
    return _ratio(predicted - labelled, labelled)


def _ratio(part: Counts, whole: Counts, *, empty: float = np.nan) -> Values:
    values = np.full(np.shape(whole), empty, np.float64)
    return np.divide(part, whole, out=values, where=np.asarray(whole) > 0)
