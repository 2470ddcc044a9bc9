from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from series_traits import FLAIR, T1, TRAITS
from tumorctl.errors import NoSuchSeries
from tumorctl.io.selection import Candidate, missing_flair, ranked
from tumorctl.io.series import Plane, SeriesRole, SeriesTraits


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ({}, {"plane": Plane.sagittal, "slices": 160}, "axial"),
        ({}, {"image_type": ("DERIVED", "SECONDARY")}, "original, not derived"),
        ({"slices": 40}, {}, "more slices"),
        ({"slice_spacing_mm": 3.0}, {"slice_spacing_mm": 5.0}, "finer slices"),
        ({}, {"text": "ax flair post"}, "from before contrast agent"),
        ({}, {"text": ""}, "named in its description"),
        ({}, {}, "it comes first"),
    ],
)
def test_ties(better: dict[str, object], worse: dict[str, object], why: str) -> None:
    for order in (1, -1) if why != "it comes first" else (1,):
        candidates = [
            Candidate("series 1 of 2", replace(FLAIR, **better)),  # type: ignore[arg-type]
            Candidate("series 2 of 2", replace(FLAIR, **worse)),  # type: ignore[arg-type]
        ][::order]
        first, second = ranked(candidates)[SeriesRole.flair]
        assert (first.choice.series, second.choice.series) == ("series 1 of 2", "series 2 of 2")
        assert first.choice.reason.endswith(f"; preferred to series 2 of 2: {why}")
        assert "preferred" not in second.choice.reason


def test_a_series_that_the_caller_named_plays_no_other_role() -> None:
    candidates = [Candidate("series 1 of 2", FLAIR), Candidate("series 2 of 2", T1)]
    roles = ranked(candidates, {SeriesRole.flair: "2"})
    assert {role: [each.index for each in options] for role, options in roles.items()} == {SeriesRole.flair: [1]}


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("1", 0),
        ("Series 2", 1),
        ("series 2 of 2", 1),
        ("#301", 0),
        ("scan/flair", 0),
        ("./scan/t1/", 1),
        ("scan/t1/IM1", 1),
        ("Ax T1", 1),
    ],
)
def test_names(name: str, index: int) -> None:
    candidates = [
        Candidate("series 1 of 2", FLAIR, 301, ("scan/flair/IM1", "scan/flair/IM2")),
        Candidate("series 2 of 2", T1, 302, ("scan/t1/IM1",)),
    ]
    assert ranked(candidates, {SeriesRole.flair: name})[SeriesRole.flair][0].index == index


def test_no_flair_lists_what_there_is_without_free_text() -> None:
    told = str(missing_flair([Candidate("series 1 of 1", replace(T1, text="jane doe t1"))]))
    assert "series 1 of 1: 30 axial slices, T1 before contrast agent" in told
    assert "--flair" in told
    assert "jane" not in told
    assert "and 8 more" in str(missing_flair([Candidate("s", T1)] * 20))


@settings(deadline=None)
@given(st.lists(TRAITS, max_size=6))
def test_every_series_has_at_most_one_role_and_nobody_is_named(series: list[SeriesTraits]) -> None:
    candidates = [Candidate(f"series {place}", traits) for place, traits in enumerate(series)]
    roles = ranked(candidates)
    taken = [each.index for options in roles.values() for each in options]
    assert len(taken) == len(set(taken))
    for role, options in roles.items():
        for each in options:
            assert each.choice.role is role
            assert "jane" not in each.choice.reason.lower()


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_name_fits_one_series_or_is_refused(name: str) -> None:
    candidates = [Candidate("series 1 of 2", FLAIR, 301), Candidate("series 2 of 2", T1, 302)]
    try:
        (found,) = ranked(candidates, {SeriesRole.t1_pre: name})[SeriesRole.t1_pre]
    except NoSuchSeries:
        return
    assert found.index in (0, 1)
