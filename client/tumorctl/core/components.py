"""The main lesion of a volume: what is left when small islands far from it are dropped."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAIN_SHARE = 0.2
"""Components with fewer voxels than this part of the largest one are islands. Chosen on validation patients."""


def main_components(mask: npt.NDArray[np.bool_], share: float = MAIN_SHARE) -> npt.NDArray[np.bool_]:
    """Keep the largest connected component of a volume's mask, and those not much smaller.

    Voxels are connected across faces, edges and corners.

    Args:
        mask: bool, shape (slice, row, column).
        share: part of the largest component's voxels that a component needs to stay, in [0, 1]; 0 keeps all.

    Returns:
        bool, same shape; empty only where the mask is.
    """
    from scipy import ndimage

    if share <= 0 or not mask.any():
        return mask
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3), np.bool_))
    voxels = np.bincount(labels.ravel())
    voxels[0] = 0
    kept: npt.NDArray[np.bool_] = (voxels >= share * voxels.max())[labels] & mask
    return kept
