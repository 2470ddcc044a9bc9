"""From two checkpoints to a model repository, checked on the way."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tumor_export.agreement import Parity, ParityError
from tumor_export.onnx import ServedClassifier, ServedNetwork, ServedSegmenter, export_onnx
from tumor_export.parity import compare_classifier, compare_segmenter
from tumor_export.ranges import measure_ranges
from tumor_export.repository import copy_skeleton, install_networks, write_manifest, write_thresholds
from tumor_export.slices import CALIBRATION_SLICES, spread
from tumor_training.calibrate import Calibration, HeldOut, calibrate
from tumor_training.dataset import SliceArrays
from tumor_training.evaluation.provenance import SECOND, read_provenance
from tumor_training.networks import Mirrored, TumorSegmenter
from tumor_training.networks.folding import load_folded
from tumor_training.networks.segmenter import WIDTH
from tumor_training.networks.weights import read_shipped
from tumor_training.run import load_task, read_summary
from tumor_training.splits import Split
from tumor_training.tasks import ClassifierTask, SegmenterTask
from tumorctl import __version__
from tumorctl.config import bundled_skeleton
from tumorctl.contract import CLASSIFIER, SEGMENTER
from tumorctl.errors import InvalidInput

logger = logging.getLogger(__name__)

PARITY_SLICES = 200
CHECKPOINT = "best.ckpt"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        repository: the model repository.
        version: of the networks.
        calibration: scale of the classifier's logits, and thresholds.
        parity: of each network.
        half_weights: whether each network's weights are stored in half precision.
    """

    repository: Path
    version: int
    calibration: Calibration
    parity: dict[str, Parity]
    half_weights: dict[str, bool]


def export(
    classifier: Path,
    segmenter: Path,
    slices: SliceArrays,
    split: Split,
    repository: Path,
    *,
    version: int,
    mirror: bool = True,
    second: Path | None = None,
    folds: Sequence[Path] = (),
) -> Exported:
    """Calibrate on held-out patients, export both networks, check parity, assemble the repository.

    Args:
        classifier: checkpoint of a run; the ``run.json`` beside it names the fold that validated.
        segmenter: likewise, of the same fold.
        slices: decoded data.
        split: whose validation patients calibrate.
        repository: where to; the bundled repository's configurations are copied where it has none.
        version: of the networks in the repository.
        mirror: whether the segmenter looks at each slice twice, once mirrored.
        second: another segmenter for the mirrored look: a checkpoint of a run, or a model repository, whose segmenter
            is taken.
        folds: where the networks learned from all development patients: for each fold of a cross-validation, a folder
            with the runs ``classifier`` and ``segmenter`` trained likewise, whose validation patients calibrate. The
            mirrored look of a fold that the second segmenter has learned from is the fold's own segmenter's.

    Raises:
        InvalidInput: a checkpoint cannot be used, or was not validated on the patients that are to calibrate.
        ParityError: an exported graph does not answer as its network, in full precision neither.
    """
    if second and not mirror:
        raise InvalidInput("a second segmenter takes the mirrored look: leave the mirror on")
    mirrored = _read_second(second) if second else None
    final = _read_pair(classifier, segmenter, mirrored, split)
    held_out = [_read_fold(folder, mirrored, split) for folder in folds] or [final]
    if any(pair.fold is None for pair in held_out):
        raise InvalidInput(
            "networks that learned from all development patients have none left to calibrate on: name the runs of the "
            "folds of a cross-validation"
        )
    if folds and (final.fold is not None or len({pair.fold for pair in held_out}) < len(held_out)):
        raise InvalidInput("folds calibrate networks that learned from all development patients, and each fold once")
    validation = [patient for pair in held_out for patient in split.validation(pair.fold)]
    logger.info("calibrating on %d validation patients", len(validation))
    calibration = calibrate(
        [HeldOut(pair.classifier.network, _looking(pair, mirror), split.validation(pair.fold)) for pair in held_out],
        slices,
    )
    images = slices.images[spread(slices.indices_of(validation), PARITY_SLICES)]
    trained = slices.images[spread(slices.indices_of(split.train(final.fold)), CALIBRATION_SLICES)]
    served: dict[str, ServedNetwork] = {
        CLASSIFIER: ServedClassifier(final.classifier.network, calibration.scale),
        SEGMENTER: ServedSegmenter(_looking(final, mirror)),
    }
    copy_skeleton(bundled_skeleton(), repository)
    parity: dict[str, Parity] = {}
    ranges: dict[str, dict[str, tuple[float, float]]] = {}
    half: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(dir=repository, prefix=".export-") as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in served}
        for name, network in served.items():
            for half_weights in (True, False):
                logger.info("exporting %s, %s precision weights", name, "half" if half_weights else "full")
                export_onnx(network, paths[name], half_weights=half_weights)
                try:
                    if isinstance(network, ServedClassifier):
                        parity[name] = compare_classifier(network, paths[name], images)
                    else:
                        parity[name] = compare_segmenter(network, paths[name], images, calibration.mask_threshold)
                except ParityError:
                    if not half_weights:
                        raise
                    continue
                half[name] = half_weights
                break
            logger.info("measuring ranges of %s for int8", name)
            ranges[name] = measure_ranges(paths[name], trained)
        install_networks(repository, version, paths)
    write_thresholds(repository, version, calibration.gate_threshold, calibration.mask_threshold)
    write_manifest(
        repository,
        version,
        thresholds={"gate": calibration.gate_threshold, "mask": calibration.mask_threshold},
        scale=calibration.scale,
        split={"sha256": split.digest, "fold": final.fold, "calibrated_on": [pair.fold for pair in held_out]},
        metrics=calibration.metrics,
        parity={name: value.to_dict() for name, value in parity.items()},
        int8_ranges=ranges,
        training={name: run["options"] | {"best": run["best"]} for name, run in final.runs.items()},
        mirror=mirror,
        tools={
            "tumorctl": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version_of(name) for name in ("onnx", "onnxruntime", "onnxscript", "torchvision")},
        },
    )
    return Exported(repository, version, calibration, parity, half)


@dataclass(frozen=True, slots=True)
class _Second:
    """A segmenter for the mirrored look, with the summary of its run."""

    network: nn.Module
    run: dict[str, Any]

    @property
    def fold(self) -> int | None:
        """The fold that validated it."""
        fold: int | None = self.run["options"]["fold"]
        return fold


@dataclass(frozen=True, slots=True)
class _Pair:
    """A classifier and a segmenter of the same fold, None for all development patients, with their runs' summaries.

    Either may have learned from fewer patients than the fold says, never from more.
    """

    classifier: ClassifierTask
    segmenter: SegmenterTask
    second: nn.Module | None
    runs: dict[str, dict[str, Any]]
    fold: int | None


def _read_pair(classifier: Path, segmenter: Path, second: _Second | None, split: Split) -> _Pair:
    first, other = load_task(classifier), load_task(segmenter)
    if not isinstance(first, ClassifierTask) or not isinstance(other, SegmenterTask):
        raise InvalidInput("the first checkpoint must be a classifier's, the second a segmenter's")
    runs = {CLASSIFIER: _run_of(classifier), SEGMENTER: _run_of(segmenter)}
    folds = {run["options"]["fold"] for run in runs.values()}
    if len(folds) != 1:
        raise InvalidInput(
            "the two networks were validated on different folds: one has trained on the other's patients"
        )
    fold = folds.pop()
    if second:
        runs[SECOND] = second.run
        if fold is not None and second.fold != fold:
            raise InvalidInput(f"the second segmenter was not validated on fold {fold}: it has trained on its patients")
    if any(run["split_sha256"] != split.digest for run in runs.values()):
        raise InvalidInput("a network was trained with another split: its validation patients may have trained it")
    return _Pair(first, other, second.network if second else None, runs, fold)


def _read_fold(folder: Path, second: _Second | None, split: Split) -> _Pair:
    own = folder / "classifier" / CHECKPOINT, folder / "segmenter" / CHECKPOINT
    fold = read_summary(own[1])["options"]["fold"]
    if second and second.fold != fold:
        logger.info("fold %s: the second segmenter has learned from its patients; its own looks twice", fold)
        second = None
    return _read_pair(*own, second, split)


def _read_second(path: Path) -> _Second:
    """A segmenter from a checkpoint or a model repository, and the summary of its run."""
    if not path.is_dir():
        task = load_task(path)
        if not isinstance(task, SegmenterTask):
            raise InvalidInput(f"{path} is not a segmenter's checkpoint")
        return _Second(task.network, _run_of(path))
    provenance = read_provenance(path)
    run = dict(provenance.training.get(SEGMENTER, {}))
    try:
        best, network, _ = run.pop("best"), run["task"]["network"], run["fold"]
        segmenter = TumorSegmenter(network["depth"], width=network.get("width", WIDTH))
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the manifest in {path} does not tell how its segmenter was trained") from error
    load_folded(segmenter, read_shipped(SEGMENTER, path))
    return _Second(segmenter.eval(), {"options": run, "best": best, "split_sha256": provenance.split_sha256})


def _looking(pair: _Pair, mirror: bool) -> nn.Module:
    return Mirrored(pair.segmenter.network, pair.second).eval() if mirror else pair.segmenter.network


def _run_of(checkpoint: Path) -> dict[str, Any]:
    run = read_summary(checkpoint)
    network = run["options"]["task"]["network"]
    # A path on the training machine says nothing elsewhere; the file's name does.
    network["weights"] = Path(network["weights"]).name
    return run
