"""`tumorctl evaluate`: predict as `tumorctl predict` does, judge against the labels, write down what was found."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from tumor_training.evaluation import figures
from tumor_training.evaluation.cohort import Cohort, Spacing, score
from tumor_training.evaluation.intervals import LEVEL, MIN_PATIENTS, BootstrapOptions, bootstrap
from tumor_training.evaluation.patients import Chosen, Part, choose
from tumor_training.evaluation.plots import draw_plots
from tumor_training.evaluation.provenance import Provenance, read_provenance
from tumor_training.evaluation.replacement import Replaceable, write_replaced
from tumor_training.evaluation.worst import draw_worst
from tumor_training.splits import Split, site_of
from tumorctl import __version__
from tumorctl.batch import BatchOptions, predict_folders
from tumorctl.client import TumorClient
from tumorctl.config import resolve
from tumorctl.errors import LeakedPatients, OutputError
from tumorctl.outputs.files import write_whole
from tumorctl.types import ClientOptions, ConnectionOptions

METRICS_FILE = "metrics.json"
SCHEMA = 1

Begin = Callable[[str, int], Callable[[], None]]


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What to judge, and how.

    Attributes:
        output: folder for predictions, figures, plots and pictures.
        part: whom to judge on.
        fold: that validates; None for the one of the networks.
        allow_training: judge patients that trained the networks too.
        replaced: sequences replaced by the FLAIR.
        spacing: of the voxels, for distances in mm.
        bootstrap: how intervals are made.
        worst: pictures of that many of the worst patients.
    """

    output: Path
    part: Part = Part.validation
    fold: int | None = None
    allow_training: bool = False
    replaced: tuple[Replaceable, ...] = ()
    spacing: Spacing | None = None
    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)
    worst: int = 5


def evaluate(
    data: Path,
    split: Split,
    options: EvaluationOptions,
    *,
    url: str | None = None,
    client_options: ClientOptions | None = None,
    connection: ConnectionOptions | None = None,
    begin: Begin = lambda name, parts: lambda: None,
) -> dict[str, Any]:
    """Judge the shipped path, gate included, on labelled patients.

    Args:
        data: folder in the Kaggle layout.
        split: whose patients.
        options: what to judge, and how.
        url: a Triton server; else the local engine.
        client_options: of the client.
        connection: how to reach the server.
        begin: told the name and number of parts of each long step; returns what is called after each part.

    Returns:
        The content of ``metrics.json``.

    Raises:
        InvalidInput: a patient or label is missing or does not fit.
        LeakedPatients: a patient trained the networks.
        ModelError: the manifest of the networks cannot be read.
        OutputError: something could not be written.
        EngineError: inference failed.
    """
    client_options = client_options or ClientOptions()
    provenance = read_provenance(resolve(url, client_options, connection or ConnectionOptions()).model_repository)
    chosen = choose(data, options.part, options.fold, split, provenance, allow_training=options.allow_training)
    with contextlib.suppress(FileNotFoundError):
        # Figures of an earlier run must not stand beside these predictions.
        (options.output / METRICS_FILE).unlink()
    with TumorClient(url, options=client_options, connection=connection) as client:
        if not options.allow_training:
            _check_networks(client, provenance)
        run = _predict(client, chosen, options, begin)
    advance = begin("comparing", _slices(chosen))
    scored = score(options.output, chosen.folders, options.spacing, advance)
    metrics = {
        **_context(options, chosen, provenance, split, run),
        **summary(scored.cohort, options.bootstrap, begin),
    }
    write_whole(options.output / METRICS_FILE, (json.dumps(metrics, indent=1, allow_nan=False) + "\n").encode())
    draw_plots(scored.cohort, metrics, options.output)
    draw_worst(scored, options.output, chosen.folders, options.worst)
    return metrics


def summary(cohort: Cohort, options: BootstrapOptions, begin: Begin) -> dict[str, Any]:
    """Figures of a cohort with intervals: all, by patient, site, size of the tumours and area in the slice."""
    by_patient = figures.patient_table(cohort)
    sites = _groups(cohort, [site_of(patient) or "(none)" for patient in cohort.patients])
    sizes = _groups(cohort, figures.size_classes(cohort))
    bootstrapped = [group for group in (*sites.values(), *sizes.values()) if len(group.patients) >= MIN_PATIENTS]
    advance = begin("resampling patients", options.resamples * (1 + len(bootstrapped)))

    def judged(group: Cohort) -> dict[str, Any]:
        return {
            "patients": len(group.patients),
            "slices": len(group),
            "positive_slices": int(group.positive.sum()),
            "failed_slices": int(group.failed.sum()),
            **figures.headline(group),
            "intervals": bootstrap(group, figures.headline, options, advance),
        }

    return {
        **judged(cohort),
        "bootstrap": {"level": LEVEL, **asdict(options)},
        "dice": {patient: values["dice"] for patient, values in by_patient.items()},
        "by_patient": by_patient,
        "by_site": {name: judged(group) for name, group in sites.items()},
        "size_limits_px": list(figures.SIZE_LIMITS_PX),
        "by_size": {name: judged(sizes[name]) for name in figures.SIZES if name in sizes},
        "by_slice_area": figures.slice_areas(cohort),
        "reliability": figures.reliability(cohort),
    }


def _groups(cohort: Cohort, names: Sequence[str]) -> dict[str, Cohort]:
    """The cohort of each group, given every patient's."""
    return {name: cohort.take(np.flatnonzero(np.array(names) == name)) for name in sorted(set(names))}


def _slices(chosen: Chosen) -> int:
    return sum(len(slices) for slices in chosen.slices.values())


def _check_networks(client: TumorClient, provenance: Provenance) -> None:
    """Refuse a server whose networks are not those of the manifest: nobody could tell what trained them."""
    if dict(client.info.model_digests) != dict(provenance.digests):
        raise LeakedPatients(
            f"{client.info.target} does not tell that it serves the networks of the manifest at hand, so the patients "
            "may have trained them: set TUMORCTL_MODEL_REPOSITORY to the repository it serves, or allow it with "
            "--allow-training-patients"
        )


def _predict(client: TumorClient, chosen: Chosen, options: EvaluationOptions, begin: Begin) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        folders = list(chosen.folders.values())
        if options.replaced:
            try:
                aside = stack.enter_context(tempfile.TemporaryDirectory(prefix="tumorctl-"))
            except OSError as error:
                raise OutputError(f"copies of the slices could not be written ({error.strerror})") from error
            folders = write_replaced(chosen.slices, options.replaced, Path(aside))
        advance = begin("predicting", _slices(chosen))
        return predict_folders(
            client, folders, BatchOptions(output=options.output, overlays=False), on_slice=lambda row: advance()
        )


def _context(
    options: EvaluationOptions, chosen: Chosen, provenance: Provenance, split: Split, run: dict[str, Any]
) -> dict[str, Any]:
    """What the figures are of: patients, networks, settings."""
    return {
        "schema": SCHEMA,
        "tumorctl": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "part": options.part.value,
        "fold": chosen.fold,
        "replaced": [sequence.value for sequence in options.replaced],
        "spacing_mm": None if options.spacing is None else asdict(options.spacing),
        "split_sha256": split.digest,
        "trained_on": list(chosen.trained),
        "networks": {
            "version": provenance.version,
            "digests": run["engine"]["model_digests"],
            "thresholds": run["thresholds"],
            "engine": run["engine"]["engine"],
            "precision": run["engine"]["target"] if run["engine"]["engine"] == "local" else None,
            "software": run["engine"]["software"],
        },
    }
