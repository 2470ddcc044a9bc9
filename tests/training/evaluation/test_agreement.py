"""Agreement with MONAI, scikit-learn and torchmetrics on outlines drawn by people and probabilities of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from monai.metrics.utils import get_edge_surface_distance
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryCalibrationError

from tumor_training import overlap
from tumor_training.evaluation import figures
from tumor_training.evaluation.cohort import Cohort
from tumor_training.evaluation.surface import hd95, pooled_hd95, surface_distances
from tumorctl.io.discovery import SliceFile, discover, mask_path
from tumorctl.io.slices import read_mask

Masks = npt.NDArray[np.bool_]

# MONAI calls its own functions in ways that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")

SPACING_MM = (5.5, 0.9, 0.8)


@pytest.fixture(scope="module")
def volumes(patients: Path) -> list[tuple[Masks, Masks]]:
    """Real labels of four patients, bool, shape (slice, row, column), each with its neighbour slice's as a guess."""
    folders = sorted(folder for folder in patients.iterdir() if folder.is_dir())[:4]
    pairs = []
    for folder in folders:
        slices = [item for item in discover([folder]) if isinstance(item, SliceFile)]
        labelled = np.stack([read_mask(mask_path(item.path)) for item in slices])
        pairs.append((np.roll(labelled, 1, axis=0), labelled))
    return pairs


def channels(mask: Masks) -> torch.Tensor:
    """As MONAI wants it: batch and channel in front."""
    return torch.from_numpy(mask)[None, None].float()


def both_marked(pair: tuple[Masks, Masks]) -> list[tuple[Masks, Masks]]:
    """The slices in which both masks have pixels."""
    return [(a, b) for a, b in zip(*pair, strict=True) if a.any() and b.any()]


def test_dice_and_iou_agree_with_monai(volumes: list[tuple[Masks, Masks]]) -> None:
    for predicted, labelled in volumes:
        counts = [np.array(mask.sum()) for mask in (predicted & labelled, predicted, labelled)]
        assert overlap.dice(*counts) == pytest.approx(float(compute_dice(channels(predicted), channels(labelled))))
        assert overlap.iou(*counts) == pytest.approx(float(compute_iou(channels(predicted), channels(labelled))))


def test_hd95_of_slices_agrees_with_monai(volumes: list[tuple[Masks, Masks]]) -> None:
    slices = [slice_pair for pair in volumes for slice_pair in both_marked(pair)]
    assert len(slices) > 20
    for predicted, labelled in slices:
        wanted = compute_hausdorff_distance(
            channels(predicted), channels(labelled), percentile=95, spacing=SPACING_MM[1:]
        )
        assert hd95(predicted, labelled, SPACING_MM[1:]) == pytest.approx(float(wanted), rel=1e-5)


def test_hd95_of_volumes_agrees_with_monai(volumes: list[tuple[Masks, Masks]]) -> None:
    for predicted, labelled in volumes:
        wanted = compute_hausdorff_distance(channels(predicted), channels(labelled), percentile=95, spacing=SPACING_MM)
        assert hd95(predicted, labelled, SPACING_MM) == pytest.approx(float(wanted), rel=1e-5)


def test_pooled_hd95_agrees_with_monais_surface_distances(volumes: list[tuple[Masks, Masks]]) -> None:
    for pair in volumes:
        sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for predicted, labelled in both_marked(pair):
            _, distances, _ = get_edge_surface_distance(
                torch.from_numpy(predicted), torch.from_numpy(labelled), symmetric=True
            )
            for side, values in zip(sides, distances, strict=True):
                side.append(torch.as_tensor(values))
        wanted = max(float(torch.quantile(torch.cat(side).double(), 0.95)) for side in sides)
        got = pooled_hd95(surface_distances(a, b, (1.0, 1.0)) for a, b in zip(*pair, strict=True))
        assert got == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_curves_and_calibration_agree_with_scikit_learn_and_torchmetrics(
    make_cohort: Callable[..., Cohort], seed: int
) -> None:
    random = np.random.default_rng(seed)
    positive = random.random(300) < 0.35
    # Rounded, so that some are equal, and the ends of the range are met.
    probability = np.clip(random.normal(np.where(positive, 0.75, 0.25), 0.3), 0, 1).round(2)
    cohort = make_cohort(
        {"a": [(float(p), True, int(is_tumor), 0, 0) for p, is_tumor in zip(probability, positive, strict=True)]}
    )
    got = figures.headline(cohort)
    assert got["auc"] == pytest.approx(roc_auc_score(positive, probability), abs=1e-6)
    assert got["average_precision"] == pytest.approx(average_precision_score(positive, probability), abs=1e-6)
    metric = BinaryCalibrationError(n_bins=figures.CALIBRATION_BINS, norm="l1")
    wanted = float(metric(torch.from_numpy(probability).float(), torch.from_numpy(positive).int()))
    assert got["expected_calibration_error"] == pytest.approx(wanted)
    table = [one for one in figures.reliability(cohort) if one["slices"]]
    assert sum(one["slices"] for one in table) == 300
    from_table = sum(one["slices"] * abs(one["mean_probability"] - one["share_with_tumor"]) for one in table) / 300
    assert from_table == pytest.approx(wanted, abs=1e-6)
