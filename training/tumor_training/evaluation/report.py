"""An evaluation as tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tumor_training.evaluation.definitions import FIGURES, SLICE_FIGURES, Unit, as_text, interval_as_text

_GROUP_FIGURES = ("dice_mean", "dice_median", "sensitivity", "specificity", "gate_sensitivity_large", "auc")


def show(metrics: Mapping[str, Any], output: str, worst: int) -> None:
    """Print an evaluation's tables to stdout.

    Args:
        metrics: the content of ``metrics.json``.
        output: its folder, as the user named it.
        worst: how many of the worst patients to list.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_headline(metrics))
    for title, key in (("By site", "by_site"), ("By size of the tumour, all slices of a patient", "by_size")):
        console.print(_groups(title, metrics[key]))
    console.print(_areas(metrics))
    if worst:
        console.print(_worst(metrics, worst))
    for note in notes(metrics):
        console.print(note, highlight=False, soft_wrap=True)
    console.print(
        f"Figures in {escape(output)}/metrics.json, plots/ and worst/ beside it.", highlight=False, soft_wrap=True
    )


def notes(metrics: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures must know of them."""
    found = []
    if metrics["trained_on"]:
        found.append(
            f"Note: {len(metrics['trained_on'])} of {metrics['patients']} patients trained the networks, or may have: "
            "the figures say nothing of new patients."
        )
    elif metrics["part"] == "validation":
        found.append("Note: validation patients chose checkpoints and thresholds: the figures flatter a little.")
    if metrics["replaced"]:
        found.append(f"Note: {' and '.join(metrics['replaced'])} replaced by the FLAIR.")
    if metrics["failed_slices"]:
        found.append(f"Note: {metrics['failed_slices']} slices failed and count as missed; see predictions.csv.")
    return found


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _headline(metrics: Mapping[str, Any]) -> Table:
    level = metrics["bootstrap"]["level"]
    title = (
        f"{metrics['part'].capitalize()}: {metrics['patients']} patients, {metrics['slices']} slices, "
        f"{metrics['positive_slices']} with tumour"
    )
    table = _table(title, "figure", "value", f"{level:.0%} interval")
    shown = [figure for figure in FIGURES if figure.name in metrics]
    for figure in shown:
        is_last_of_slices = figure is SLICE_FIGURES[-1]
        table.add_row(
            figure.label,
            as_text(metrics[figure.name], figure.unit),
            interval_as_text(metrics["intervals"][figure.name], figure.unit),
            end_section=is_last_of_slices,
        )
    return table


def _groups(title: str, by_group: Mapping[str, Any]) -> Table:
    labels = ("Dice mean", "Dice median", "sensitivity", "specificity", "gate, 50 px+", "AUC")
    table = _table(title, "group", "patients", "slices", *labels)
    for name, values in by_group.items():
        numbers = (as_text(values[key], Unit.share) for key in _GROUP_FIGURES)
        table.add_row(escape(name), str(values["patients"]), str(values["slices"]), *numbers)
    return table


def area_class(values: Mapping[str, Any]) -> str:
    """A class of slices by labelled area, as text."""
    if values["below_px"] is None:
        return f"{values['from_px']:,} px or more"
    return f"{values['from_px']:,} to {values['below_px'] - 1:,} px"


def _areas(metrics: Mapping[str, Any]) -> Table:
    table = _table("Slices with tumour, by area", "area", "slices", "gate sensitivity", "sensitivity", "Dice mean")
    for values in metrics["by_slice_area"]:
        numbers = (as_text(values[key], Unit.share) for key in ("gate_sensitivity", "sensitivity", "dice_mean"))
        table.add_row(area_class(values), str(values["slices"]), *numbers)
    return table


def _worst(metrics: Mapping[str, Any], count: int) -> Table:
    table = _table("Worst patients", "patient", "Dice", "sensitivity", "precision", "HD95, px", "labelled px")
    by_patient = metrics["by_patient"]
    for patient in sorted(by_patient, key=lambda name: float(by_patient[name]["dice"]))[:count]:
        values = by_patient[patient]
        shares = (as_text(values[key], Unit.share) for key in ("dice", "sensitivity", "precision"))
        distance = as_text(values["hd95_px"], Unit.distance_px).removesuffix(" px")
        table.add_row(escape(patient), *shares, distance, f"{values['labelled_px']:,}")
    return table
