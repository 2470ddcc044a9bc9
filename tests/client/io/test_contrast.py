"""T1s of which nothing tells whether contrast agent had been given: the order of acquisition, and doubt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorctl.io.selection import Candidate, ranked
from tumorctl.io.series import Plane, SeriesRole, SeriesTraits

T1 = SeriesTraits(echo_time_ms=10, repetition_time_ms=600, text="ax t1", plane=Plane.axial, slices=30)
FLAIR = SeriesTraits(inversion_time_ms=2500, text="ax flair", plane=Plane.axial, slices=30)
PRE, POST = SeriesRole.t1_pre, SeriesRole.t1_post


def chosen(
    *traits: SeriesTraits, named: dict[SeriesRole, str] | None = None
) -> tuple[dict[SeriesRole, int], list[str]]:
    """The place of the series for each role, from 1, and the warnings that come with them."""
    roles = ranked([Candidate(f"series {place}", each) for place, each in enumerate(traits, 1)], named)
    best = {role: options[0] for role, options in roles.items()}
    return {role: each.index + 1 for role, each in best.items()}, [
        each.warning for each in best.values() if each.warning
    ]


def test_one_t1_that_says_nothing_is_from_before() -> None:
    assert chosen(T1, FLAIR) == ({PRE: 1, SeriesRole.flair: 2}, [])


def test_the_last_repetition_is_taken_to_be_from_after() -> None:
    found, (warning,) = chosen(T1, T1, replace(T1, echo_time_ms=11, slices=28))
    assert found == {PRE: 1, POST: 3}
    assert "series 3" in warning
    assert "it repeats series 1" in warning


def test_times_of_acquisition_count_more_than_numbers() -> None:
    found, _ = chosen(replace(T1, acquired="20240229101600"), replace(T1, acquired="20240229101500.5"))
    assert found == {PRE: 2, POST: 1}


def test_a_repetition_of_one_that_says_before() -> None:
    found, (warning,) = chosen(replace(T1, text="ax t1 pre"), T1)
    assert found == {PRE: 1, POST: 2}
    assert "it repeats series 1" in warning
    assert chosen(T1, replace(T1, text="ax t1 pre"))[0] == {PRE: 1}


@pytest.mark.parametrize(
    "other",
    [
        replace(T1, plane=Plane.sagittal),
        replace(T1, repetition_time_ms=2000, inversion_time_ms=900),
        replace(T1, slices=160),
        replace(T1, image_type=("DERIVED", "SECONDARY")),
    ],
)
def test_two_that_are_not_alike_both_count_as_before_with_doubt(other: SeriesTraits) -> None:
    found, (warning,) = chosen(T1, other)
    assert set(found) == {PRE}
    assert "series 1 and series 2" in warning
    assert "--t1-post" in warning


def test_what_was_acquired_later_than_a_t1_from_after_is_the_last_choice() -> None:
    post = replace(T1, text="ax t1 post")
    assert chosen(post, T1, replace(T1, text="ax t1 pre"))[0] == {PRE: 3, POST: 1}
    found, (warning,) = chosen(post, T1)
    assert found == {PRE: 2, POST: 1}
    assert "acquired later than series 1" in warning
    # One from before beside it: no doubt.
    assert chosen(T1, post, T1) == ({PRE: 1, POST: 2}, [])


def test_series_that_are_named_end_the_doubt() -> None:
    assert chosen(T1, T1, named={POST: "1", PRE: "2"}) == ({PRE: 2, POST: 1}, [])
    assert chosen(T1, T1, named={POST: "2"}) == ({PRE: 1, POST: 2}, [])
    assert chosen(T1, T1, named={PRE: "1"})[0] == {PRE: 1, POST: 2}


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            lambda text, acquired, slices: replace(T1, text=text, acquired=acquired, slices=slices),
            st.sampled_from(["ax t1", "t1 pre", "t1 post", "t1 gd", "flair", ""]),
            st.sampled_from(["", "20240229101500", "20240229101600", "20240301"]),
            st.integers(0, 40),
        ),
        max_size=6,
    )
)
def test_what_says_it_keeps_its_role_and_no_date_is_told(traits: list[SeriesTraits]) -> None:
    roles = ranked([Candidate(f"series {place}", each) for place, each in enumerate(traits, 1)])
    for role, options in roles.items():
        for each in options:
            text = traits[each.index].text
            assert role is PRE or "pre" not in text
            assert role is POST or ("post" not in text and "gd" not in text)
            assert "2024" not in each.choice.reason + each.warning
