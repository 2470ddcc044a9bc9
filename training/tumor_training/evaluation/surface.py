"""Distances between the outlines of a predicted and a labelled tumour.

The edge of a mask are its pixels with a neighbour outside it across a side (in a volume: across a face); beyond the
border of the image is outside. Distances are Euclidean, from the centre of each edge pixel of one mask to the nearest
edge pixel of the other. The 95th-percentile Hausdorff distance (HD95) is the larger of the two directions' 95th
percentiles (Huttenlocher et al. 1993; the percentile as in MONAI and Metrics Reloaded, Maier-Hein et al. 2024).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

PERCENTILE = 95


def surface_distances(predicted: Mask, labelled: Mask, spacing: Sequence[float]) -> tuple[Distances, Distances] | None:
    """Distances from each edge pixel of the prediction to the label, and from the label to the prediction.

    Args:
        predicted: bool, shape (row, column) or (slice, row, column).
        labelled: same shape.
        spacing: edge lengths of a pixel, in axis order, > 0; the distances have their unit.

    Returns:
        Both directions; None where a mask is empty, which leaves no distance.
    """
    both = predicted | labelled
    if not predicted.any() or not labelled.any():
        return None
    # What lies outside the box around both masks changes no distance.
    (box,) = ndimage.find_objects(both.astype(np.int8))
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted[box], labelled[box])]
    # The border of the box is no edge of its own: a mask that reaches it ends there, or at the border of the image.
    to_label, to_prediction = (ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges[::-1])
    return to_label[edges[0]], to_prediction[edges[1]]


def hd95(predicted: Mask, labelled: Mask, spacing: Sequence[float]) -> float | None:
    """95th-percentile Hausdorff distance of two masks; None where one is empty. Arguments as `surface_distances`."""
    return pooled_hd95([surface_distances(predicted, labelled, spacing)])


def pooled_hd95(distances: Iterable[tuple[Distances, Distances] | None]) -> float | None:
    """95th-percentile Hausdorff distance over the edge pixels of many slices together.

    Args:
        distances: of each slice, as `surface_distances` gives them; None for a slice where only one mask, or neither,
            has a pixel: it has no distance within its plane, and is left out.

    Returns:
        The larger of the two directions' 95th percentiles; None where no slice has distances.
    """
    known = [pair for pair in distances if pair is not None]
    if not known:
        return None
    directions = (np.concatenate(side) for side in zip(*known, strict=True))
    return max(float(np.percentile(side, PERCENTILE)) for side in directions)
