"""Pictures of the worst patients: where the label is, and where the prediction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tumor_training.evaluation.cohort import Scored, SliceFiles
from tumor_training.evaluation.figures import patient_values
from tumor_training.evaluation.style import COLOURS, picture, remove
from tumorctl.contract import FLAIR_CHANNEL
from tumorctl.errors import TumorctlError
from tumorctl.io.discovery import mask_path
from tumorctl.io.slices import read_mask, read_slice

WORST = "worst"
_NAME = re.compile(r"\d{2,}_.*\.png")
_LABEL: dict[str, Any] = {"colors": COLOURS[5], "linestyles": "solid"}
_PREDICTION: dict[str, Any] = {"colors": COLOURS[4], "linestyles": "dashed"}


def draw_worst(scored: Scored, output: Path, folders: Mapping[str, Path], count: int) -> None:
    """Draw a picture of each of the patients with the smallest Dice into ``worst/``, in that order.

    A picture shows up to three slices: the largest labelled tumour and, among the others, the most labelled pixels
    missed and the most pixels outlined wrongly.

    Args:
        scored: what was judged.
        output: folder of the evaluation, with the predicted masks.
        folders: each patient's slices and labels.
        count: how many patients.

    Raises:
        OutputError: a picture could not be written.
    """
    folder = output / WORST
    if folder.is_dir():
        remove([old for old in folder.iterdir() if _NAME.fullmatch(old.name)])
    cohort = scored.cohort
    dice = patient_values(cohort)["dice"]
    missed, wrong = cohort.label_px - cohort.overlap_px, cohort.predicted_px - cohort.overlap_px
    for place, index in enumerate(np.argsort(dice, kind="stable")[:count], start=1):
        patient = cohort.patients[index]
        chosen: dict[str, int] = {}
        for reason, count_px in (
            ("largest tumour", cohort.label_px),
            ("most missed", missed),
            ("most outlined wrongly", wrong),
        ):
            left = [at for at in np.flatnonzero(cohort.owner == index) if at not in chosen.values()]
            if left:
                chosen[reason] = int(max(left, key=count_px.__getitem__))
        with picture(folder / f"{place:02d}_{patient}.png", 3.7 * len(chosen), 4.95, columns=len(chosen)) as (
            made,
            panels,
        ):
            for axes, (reason, at) in zip(panels, chosen.items(), strict=True):
                files = scored.files[at]
                gate = "" if cohort.passed[at] else ", failed" if cohort.failed[at] else ", kept back by the gate"
                axes.set_title(
                    f"{reason}: slice {files.number}\nprobability {cohort.probability[at]:.3f}{gate}\n"
                    f"label {cohort.label_px[at]} px, missed {missed[at]} px, wrong {wrong[at]} px",
                    fontsize=9,
                )
                _draw_slice(axes, files, output, folders[patient])
            made.suptitle(f"{patient}: volume Dice {dice[index]:.3f}")
            handles = [
                Line2D([], [], color=look["colors"], linestyle=look["linestyles"], linewidth=2)
                for look in (_LABEL, _PREDICTION)
            ]
            made.legend(handles, ["label", "prediction"], loc="outside lower left", ncols=2)


def _draw_slice(axes: Axes, files: SliceFiles, output: Path, folder: Path) -> None:
    axes.set_axis_off()
    path = folder / files.path
    labelled = read_mask(mask_path(path))
    try:
        flair = read_slice(path)[:, :, FLAIR_CHANNEL]
    except TumorctlError as error:
        axes.text(0.5, 0.5, str(error), ha="center", va="center", transform=axes.transAxes, wrap=True)
        return
    axes.imshow(flair, cmap="gray", interpolation="nearest")
    _draw_outline(axes, labelled, _LABEL)
    if files.mask:
        _draw_outline(axes, read_mask(output / files.mask), _PREDICTION)


def _draw_outline(axes: Axes, mask: npt.NDArray[np.bool_], look: dict[str, Any]) -> None:
    if mask.any():
        # A margin lets outlines close that touch the border of the slice.
        padded = np.pad(mask, 1).astype(np.float64)
        places = [np.arange(-1, side + 1) for side in mask.shape]
        axes.contour(places[1], places[0], padded, levels=[0.5], linewidths=1.4, **look)
