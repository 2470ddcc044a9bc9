"""The outline as NIfTI, on the FLAIR's own grid."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import numpy.typing as npt

from tumorctl import __version__
from tumorctl.contract import SHORT_NOTICE
from tumorctl.errors import MaskMismatch, OutputError
from tumorctl.outputs.files import write_whole

if TYPE_CHECKING:
    from tumorctl.core.geometry import Grid

_NIFTI_AXES = (2, 1, 0)
"""A NIfTI array runs (column, row, slice)."""
_SCANNER = 1
_SHEAR = 1e-4


def write_mask(path: Path, mask: npt.NDArray[np.bool_], grid: Grid) -> None:
    """Write a mask as NIfTI-1, whole or not at all.

    Args:
        path: ends in ``.nii`` or ``.nii.gz``.
        mask: bool, shape (slice, row, column).
        grid: where its voxels lie.

    Raises:
        MaskMismatch: the mask is not on the grid.
        OutputError: another ending, or it could not be written.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise OutputError(f"{path.name}: a NIfTI file's name ends in .nii or .nii.gz")
    content = encode_mask(mask, grid)
    # No time and no name in the header: the same mask gives the same bytes.
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def encode_mask(mask: npt.NDArray[np.bool_], grid: Grid) -> bytes:
    """A mask as an uncompressed NIfTI-1 file: uint8, 1 inside the tumour, intent "label".

    Raises:
        MaskMismatch: the mask is not on the grid.
    """
    if mask.shape != grid.shape:
        raise MaskMismatch(f"a mask of shape {mask.shape} on a grid of shape {grid.shape}")
    affine = grid.affine_ras[:, (*_NIFTI_AXES, 3)]
    image = nibabel.Nifti1Image(mask.astype(np.uint8).transpose(_NIFTI_AXES), affine)
    image.header.set_intent("label", name="tumour")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"{SHORT_NOTICE}, tumorctl {__version__}".encode()
    image.header["cal_max"] = 1
    image.set_sform(affine, code=_SCANNER)
    # A quaternion cannot say a sheared grid: it is left out rather than wrong.
    image.set_qform(affine, code=0 if _is_sheared(affine) else _SCANNER)
    return bytes(image.to_bytes())


def _is_sheared(affine: npt.NDArray[np.float64]) -> bool:
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(steps.T @ steps - np.eye(3)).max() > _SHEAR)
