from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from tumor_training.evaluation import figures
from tumor_training.evaluation.cohort import Cohort
from tumor_training.evaluation.figures import headline
from tumor_training.evaluation.intervals import BootstrapOptions, bootstrap
from tumorctl.errors import InvalidOption

OPTIONS = BootstrapOptions(resamples=50)


def test_the_seed_decides(random_cohort: Cohort) -> None:
    first = bootstrap(random_cohort, headline, OPTIONS)
    assert first == bootstrap(random_cohort, headline, OPTIONS)
    assert first != bootstrap(random_cohort, headline, BootstrapOptions(resamples=50, seed=1))


def test_every_figure_but_the_worst_patient_has_an_interval_around_it(random_cohort: Cohort) -> None:
    got, values = bootstrap(random_cohort, headline, BootstrapOptions(resamples=200)), headline(random_cohort)
    assert {name for name, interval in got.items() if interval is None} == {"dice_worst"}
    for name, interval in got.items():
        # The calibration error is biased upwards in resamples; the others surround their figure.
        if interval is not None and name != "expected_calibration_error":
            value = values[name]
            assert value is not None
            assert interval[0] <= value <= interval[1], name


def test_patients_are_drawn_and_not_slices(make_cohort: Callable[..., Cohort]) -> None:
    """Were slices drawn, the share would hardly vary: each patient has fifty, all alike."""
    cohort = make_cohort({str(n): [(0.5, n < 4, 100, 0, 0)] * 50 for n in range(8)})
    interval = bootstrap(cohort, headline, BootstrapOptions(resamples=500))["gate_sensitivity"]
    assert interval is not None
    binomial = scipy.stats.binom(8, 0.5)
    low, high = binomial.ppf(0.025) / 8, binomial.ppf(0.975) / 8
    assert interval == pytest.approx((low, high), abs=1 / 8)
    assert interval[1] - interval[0] > 0.5


def test_it_agrees_with_scipy(random_cohort: Cohort) -> None:
    dice = figures.patient_values(random_cohort)["dice"]
    wanted = scipy.stats.bootstrap(
        (dice,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    )
    got = bootstrap(random_cohort, figures.patient_figures, BootstrapOptions(resamples=2000))["dice_mean"]
    spread = wanted.confidence_interval.high - wanted.confidence_interval.low
    assert got == pytest.approx(tuple(wanted.confidence_interval), abs=0.08 * float(spread))


def test_few_patients_have_no_interval(random_cohort: Cohort) -> None:
    assert set(bootstrap(random_cohort.take(np.arange(4)), headline, OPTIONS).values()) == {None}
    assert bootstrap(random_cohort.take(np.arange(5)), headline, OPTIONS)["dice_mean"] is not None


def test_without_resamples_there_is_no_interval(random_cohort: Cohort) -> None:
    assert set(bootstrap(random_cohort, headline, BootstrapOptions(resamples=0)).values()) == {None}


def test_a_figure_that_many_resamples_leave_undefined_has_no_interval(make_cohort: Callable[..., Cohort]) -> None:
    """One of six patients has tumour-free slices: a third of the resamples miss it."""
    cohort = make_cohort(
        {str(n): [(0.9, True, 80, 80, 80), *([(0.1, False, 0, 0, 0)] if n == 0 else [])] for n in range(6)}
    )
    got = bootstrap(cohort, headline, BootstrapOptions(resamples=200))
    assert got["specificity"] is None
    assert got["sensitivity"] == (1.0, 1.0)


def test_progress_is_told_of_every_resample(random_cohort: Cohort) -> None:
    told: list[None] = []
    bootstrap(random_cohort, headline, BootstrapOptions(resamples=7), lambda: told.append(None))
    assert len(told) == 7


@pytest.mark.parametrize("wrong", [{"resamples": -1}, {"seed": -1}])
def test_negative_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidOption, match="at least 0"):
        BootstrapOptions(**wrong)
