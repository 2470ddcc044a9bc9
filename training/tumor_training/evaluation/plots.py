"""Plots of an evaluation, as PNG: curves, calibration, Dice by patient and by size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc

from tumor_training.evaluation.cohort import Cohort
from tumor_training.evaluation.definitions import Unit, as_text, interval_as_text
from tumor_training.evaluation.figures import slice_dice
from tumor_training.evaluation.style import COLOURS, INK, PALE, picture, remove, styles

PLOTS = "plots"
ROC, PRECISION_RECALL, RELIABILITY = "roc.png", "precision_recall.png", "reliability.png"
DICE_BY_PATIENT, DICE_BY_SIZE = "dice_by_patient.png", "dice_by_size.png"
FILES = (ROC, PRECISION_RECALL, RELIABILITY, DICE_BY_PATIENT, DICE_BY_SIZE)

_Corner = Literal["lower left", "lower right", "upper left", "upper right"]


def draw_plots(cohort: Cohort, metrics: dict[str, Any], output: Path) -> None:
    """Draw all plots into ``plots/``; the curves need slices of both kinds, and are left out where there are none.

    Args:
        cohort: what was judged.
        metrics: its figures, as in ``metrics.json``.
        output: folder of the evaluation.

    Raises:
        OutputError: a plot could not be written.
    """
    folder = output / PLOTS
    remove(folder / name for name in FILES)
    if metrics["auc"] is not None:
        _draw_roc(cohort, metrics, folder / ROC)
        _draw_precision_recall(cohort, metrics, folder / PRECISION_RECALL)
    _draw_reliability(metrics, folder / RELIABILITY)
    _draw_dice_by_patient(cohort, metrics, folder / DICE_BY_PATIENT)
    _draw_dice_by_size(metrics, folder / DICE_BY_SIZE)


def _named(metrics: dict[str, Any], name: str, label: str) -> str:
    """A figure with its interval, for a legend."""
    text = f"{label} {as_text(metrics[name], Unit.share)}"
    interval = interval_as_text(metrics["intervals"][name], Unit.share)
    return f"{text} (95 % CI {interval})" if interval else text


def _counts(metrics: dict[str, Any]) -> str:
    return f"{metrics['patients']} patients, {metrics['slices']} slices, {metrics['positive_slices']} with tumour"


@contextmanager
def _unit_plot(
    path: Path, title: str, metrics: dict[str, Any], x: str, y: str, legend: _Corner, width: float = 5.2
) -> Iterator[Axes]:
    """A square plot of two shares against each other, whose legend is put where it covers nothing."""
    with picture(path, width, 5.2) as (_, (axes,)):
        yield axes
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
        axes.set_box_aspect(1)
        axes.grid(color=PALE, linewidth=0.4, alpha=0.6)
        axes.set_title(f"{title}\n{_counts(metrics)}")
        axes.legend(loc=legend)


def _point(axes: Axes, x: float, y: float, marker: str, colour: str, label: str) -> None:
    axes.plot(x, y, marker=marker, markersize=8, linestyle="none", color=colour, label=label)


def _scores(cohort: Cohort) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(cohort.probability), torch.from_numpy(cohort.positive.astype(np.int64))


def _draw_roc(cohort: Cohort, metrics: dict[str, Any], path: Path) -> None:
    x, y = "false-positive rate (slices without tumour)", "true-positive rate (slices with tumour)"
    with _unit_plot(path, "ROC over slices", metrics, x, y, "lower right") as axes:
        false, true, _ = binary_roc(*_scores(cohort))
        axes.plot([0, 1], [0, 1], color=PALE, linestyle=":", label="chance")
        axes.plot(false, true, color=COLOURS[0], linewidth=2, label=_named(metrics, "auc", "AUC"))
        gate = metrics["networks"]["thresholds"]["gate"]
        label = "gate" if gate is None else f"gate, at probability {gate:.3g}"
        _point(axes, 1 - metrics["gate_specificity"], metrics["gate_sensitivity"], "D", COLOURS[1], label)
        label = "gate and outline: tumour reported"
        _point(axes, 1 - metrics["specificity"], metrics["sensitivity"], "s", COLOURS[2], label)


def _draw_precision_recall(cohort: Cohort, metrics: dict[str, Any], path: Path) -> None:
    x, y = "recall (slices with tumour)", "precision"
    with _unit_plot(path, "Precision and recall over slices", metrics, x, y, "lower left") as axes:
        precision, recall, _ = binary_precision_recall_curve(*_scores(cohort))
        share = metrics["positive_slices"] / metrics["slices"]
        axes.axhline(share, color=PALE, linestyle=":", label=f"chance, {share:.2f}")
        # By steps, as the average precision is computed.
        label = _named(metrics, "average_precision", "average precision")
        axes.step(recall, precision, where="post", color=COLOURS[0], linewidth=2, label=label)
        found, wrong = int((cohort.passed & cohort.positive).sum()), int((cohort.passed & ~cohort.positive).sum())
        if found + wrong:
            _point(axes, metrics["gate_sensitivity"], found / (found + wrong), "D", COLOURS[1], "gate")


def _draw_reliability(metrics: dict[str, Any], path: Path) -> None:
    title = "Reliability of the probabilities, ten bins"
    x, y = "mean predicted probability", "share of slices with tumour"
    with _unit_plot(path, title, metrics, x, y, "upper left", width=5.6) as axes:
        bins = [one for one in metrics["reliability"] if one["slices"]]
        counts = axes.twinx()
        counts.bar(
            [(one["from"] + one["to"]) / 2 for one in bins],
            [one["slices"] for one in bins],
            width=0.09,
            color=PALE,
            alpha=0.55,
            zorder=0,
        )
        counts.set(ylabel="slices (grey bars, log scale)", yscale="log", ylim=(0.8, 10 * metrics["slices"]))
        counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        counts.spines["right"].set_visible(True)
        axes.set_zorder(counts.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", label="perfectly calibrated")
        axes.plot(
            [one["mean_probability"] for one in bins],
            [one["share_with_tumor"] for one in bins],
            color=COLOURS[0],
            marker="o",
            linewidth=2,
            label=_named(metrics, "expected_calibration_error", "ECE"),
        )


def _site(values: dict[str, Any]) -> str:
    return str(values["site"]) or "(none)"


def _draw_dice_by_patient(cohort: Cohort, metrics: dict[str, Any], path: Path) -> None:
    by_patient = metrics["by_patient"]
    order = sorted(by_patient, key=lambda patient: float(by_patient[patient]["dice"]))
    with picture(path, 7.6, 2.2 + 0.24 * len(order)) as (made, (axes,)):
        looks = styles(_site(values) for values in by_patient.values())
        interval = metrics["intervals"]["dice_mean"]
        if interval:
            axes.axvspan(*interval, color=PALE, alpha=0.4, linewidth=0, label="interval of the mean")
        axes.axvline(metrics["dice_mean"], color=INK, linewidth=1.2, label=_named(metrics, "dice_mean", "mean"))
        axes.axvline(
            metrics["dice_median"],
            color=INK,
            linewidth=1.2,
            linestyle="--",
            label=_named(metrics, "dice_median", "median"),
        )
        single = slice_dice(cohort)
        for row, patient in enumerate(order):
            mine = single[(cohort.owner == cohort.patients.index(patient)) & cohort.positive]
            if len(mine):
                low, high = np.percentile(mine, [25, 75])
                colour = looks[_site(by_patient[patient])]["color"]
                axes.plot([low, high], [row, row], color=colour, linewidth=4, alpha=0.3, solid_capstyle="butt")
        for site, look in looks.items():
            rows = [row for row, patient in enumerate(order) if _site(by_patient[patient]) == site]
            dots = [by_patient[order[row]]["dice"] for row in rows]
            axes.plot(dots, rows, linestyle="none", markersize=7, label=f"site {site}", **look)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.8, len(order) - 0.2), xlabel="volume Dice")
        axes.set_yticks(range(len(order)), order, fontsize=8)
        axes.grid(axis="x", color=PALE, linewidth=0.4, alpha=0.6)
        axes.set_title(f"Dice by patient, gate misses included\n{_counts(metrics)}")
        handles, labels = axes.get_legend_handles_labels()
        handles.append(Line2D([], [], color=INK, linewidth=4, alpha=0.3))
        labels.append("middle half of the Dice of single slices with tumour")
        made.legend(handles, labels, loc="outside lower center", ncols=2)


def _draw_dice_by_size(metrics: dict[str, Any], path: Path) -> None:
    with picture(path, 6.4, 4.8) as (_, (axes,)):
        by_patient = metrics["by_patient"]
        for site, look in styles(_site(values) for values in by_patient.values()).items():
            mine = [values for values in by_patient.values() if _site(values) == site]
            axes.plot(
                [values["labelled_px"] for values in mine],
                [values["dice"] for values in mine],
                linestyle="none",
                markersize=7,
                label=f"site {site}",
                **look,
            )
        # Without tumour in the label, a patient has size 0, which a plain logarithm cannot show.
        has_zero = any(values["labelled_px"] == 0 for values in by_patient.values())
        if has_zero:
            axes.set_xscale("symlog", linthresh=100)
        else:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        limits = metrics["size_limits_px"]
        for limit in limits:
            axes.axvline(limit, color=PALE, linewidth=1, linestyle=":")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set(ylim=(-0.02, 1.02), xlabel="labelled pixels of the patient, all slices together", ylabel="volume Dice")
        axes.grid(axis="y", color=PALE, linewidth=0.4, alpha=0.6)
        axes.set_title(
            f"Dice against the size of the tumour\ndotted: limits of small, medium and large "
            f"({' and '.join(f'{limit:,}' for limit in limits)} px)"
        )
        axes.legend(loc="lower right")
