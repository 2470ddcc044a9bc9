"""Confidence intervals by resampling patients: slices of a patient are near-copies and never drawn by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tumor_training.evaluation.cohort import Cohort
from tumor_training.evaluation.definitions import FIGURES
from tumor_training.evaluation.figures import Figures
from tumorctl.errors import InvalidOption

Interval = tuple[float, float]

LEVEL = 0.95
MIN_PATIENTS = 5
"""With fewer patients the percentiles of resamples say next to nothing, and there is no interval."""
_MIN_DEFINED = 0.95
"""Part of the resamples that must define a figure for it to have an interval."""
_WITHOUT = frozenset(figure.name for figure in FIGURES if not figure.interval)


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """How intervals are made.

    Attributes:
        resamples: how often patients are drawn anew, 0 for no intervals.
        seed: the same seed gives the same intervals.
    """

    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 0 or self.seed < 0:
            raise InvalidOption("the number of resamples and the seed are at least 0")


def bootstrap(
    cohort: Cohort,
    figures_of: Callable[[Cohort], Figures],
    options: BootstrapOptions,
    on_resample: Callable[[], None] = lambda: None,
) -> dict[str, Interval | None]:
    """95 % percentile intervals of figures (Efron & Tibshirani 1993): patients drawn with replacement, as many as are.

    Args:
        cohort: the patients.
        figures_of: the figures, by name.
        options: how.
        on_resample: called after each resample.

    Returns:
        Each figure's interval; None for the worst patient, with fewer than `MIN_PATIENTS` patients, and where 5 % of
        the resamples or more leave the figure undefined.
    """
    count = len(cohort.patients)
    names = list(figures_of(cohort))
    if count < MIN_PATIENTS or not options.resamples:
        return dict.fromkeys(names)
    random = np.random.default_rng(options.seed)
    take = cohort.taker()
    drawn = np.full((options.resamples, len(names)), np.nan)
    for row in drawn:
        figures = figures_of(take(random.integers(0, count, count)))
        row[:] = [np.nan if figures[name] is None else figures[name] for name in names]
        on_resample()
    return {name: None if name in _WITHOUT else _interval(drawn[:, column]) for column, name in enumerate(names)}


def _interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Interval | None:
    known = values[~np.isnan(values)]
    if len(known) <= _MIN_DEFINED * len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
