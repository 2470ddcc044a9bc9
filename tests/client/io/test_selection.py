from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorctl.errors import NoSuchSeries
from tumorctl.io.selection import Candidate, Kind, classify, missing_flair, ranked
from tumorctl.io.series import Plane, SeriesRole, SeriesTraits

FLAIR = SeriesTraits(
    echo_time_ms=120, repetition_time_ms=9000, inversion_time_ms=2500, text="ax flair", plane=Plane.axial, slices=30
)
T1 = SeriesTraits(echo_time_ms=10, repetition_time_ms=600, text="ax t1", plane=Plane.axial, slices=30)


@pytest.mark.parametrize(
    ("text", "times", "kind"),
    [
        ("AX FLAIR", (), Kind.flair),
        ("Sag CUBE FLAIR fs", (), Kind.flair),
        ("t2_tirm_tra_dark-fluid_320", (), Kind.flair),
        ("t2_tirm_tra", (90, 9000, 2500), Kind.flair),
        ("T2 TSE dark fluid", (), Kind.flair),
        ("T2W_FLAIR_SPIR", (), Kind.flair),
        ("3D_Brain_VIEW_FLAIR", (), Kind.flair),
        ("BraTS-GLI-00000-000-t2f", (), Kind.flair),
        ("sub01_T2FLAIR", (), Kind.flair),
        ("", (120, 9000, 2500), Kind.flair),
        ("", (390, 5000, 1800), Kind.flair),
        ("Ax T1 FLAIR", (), Kind.t1_pre),
        ("Ax T1 FLAIR", (24, 2500, 860), Kind.t1_pre),
        ("T1W_IR", (10, 2000, 800), Kind.t1_pre),
        ("AX FLAIR +C", (), Kind.flair),
        ("t1_se_tra", (), Kind.t1_pre),
        ("T1W_TSE", (), Kind.t1_pre),
        ("t1_mprage_sag_p2_iso", (3, 2000, 1100), Kind.t1_pre),
        ("SAG MPRAGE", (), Kind.t1_pre),
        ("anat-T1w", (), Kind.t1_pre),
        ("AX T1 PRE", (), Kind.t1_pre),
        ("T1 nativ", (), Kind.t1_pre),
        ("T1 w/o contrast", (), Kind.t1_pre),
        ("T1 without gadolinium", (), Kind.t1_pre),
        ("AX T1 NON-CONTRAST", (), Kind.t1_pre),
        ("t1_tra ohne KM", (), Kind.t1_pre),
        ("BraTS-t1n", (), Kind.t1_pre),
        ("", (10, 600, None), Kind.t1_pre),
        ("AX T1 POST GAD", (), Kind.t1_post),
        ("t1_se_tra_km", (), Kind.t1_post),
        ("AX T1 +C", (), Kind.t1_post),
        ("AX T1 C+", (), Kind.t1_post),
        ("Ax 3D T1 BRAVO+C", (), Kind.t1_post),
        ("T1_GD", (), Kind.t1_post),
        ("T1-weighted post-contrast", (), Kind.t1_post),
        ("T1W_3D_TFE_GADO", (), Kind.t1_post),
        ("t1ce", (), Kind.t1_post),
        ("AX T1 POST NON FS", (), Kind.t1_post),
        ("AX T1 POST; BRAIN W/WO CONTRAST", (), Kind.t1_post),
        ("AX T1; BRAIN W AND W/O CONTRAST", (), Kind.t1_pre),
        ("AX T1 PRE; BRAIN WITH CONTRAST", (), Kind.t1_pre),
        ("preop AX T1 GD", (), Kind.t1_post),
        ("postop AX T1 W/O", (), Kind.t1_pre),
        ("sub-01_ses-2_T1w", (), Kind.t1_pre),
        ("sub-01_FLAIR", (), Kind.flair),
        ("t1c", (), Kind.t1_post),
        ("t1Gd", (), Kind.t1_post),
        ("MPRAGE nach KM", (), Kind.t1_post),
        ("T2 TSE", (), Kind.t2),
        ("AX T2 FSE", (100, 5000, None), Kind.t2),
        ("", (100, 5000, None), Kind.t2),
        ("PD", (), Kind.proton_density),
        ("", (15, 3000, None), Kind.proton_density),
        ("COR STIR", (60, 5000, 150), Kind.stir),
        ("LOCALIZER", (), Kind.localiser),
        ("3-plane loc", (), Kind.localiser),
        ("AAHead_Scout_64ch", (), Kind.localiser),
        ("Survey", (), Kind.localiser),
        ("ep2d_diff_3scan_trace_p2", (), Kind.diffusion),
        ("DWI b1000", (), Kind.diffusion),
        ("Apparent Diffusion Coefficient", (), Kind.diffusion),
        ("ADC", (), Kind.diffusion),
        ("AX SWI", (), Kind.susceptibility),
        ("SWAN", (), Kind.susceptibility),
        ("AX T2* GRE", (), Kind.susceptibility),
        ("t1_mprage MPR cor", (), Kind.derived),
        ("FLAIR MIP", (), Kind.derived),
        ("T1 SUB post-pre", (), Kind.derived),
        ("T1 map", (), Kind.derived),
        ("ep2d_perf", (), Kind.perfusion),
        ("TOF 3D", (), Kind.vessels),
        ("something", (), Kind.unknown),
    ],
)
def test_words_and_times_tell_what_a_series_is(text: str, times: tuple[float | None, ...], kind: Kind) -> None:
    echo, repetition, inversion = times or (None, None, None)
    traits = SeriesTraits(
        text=text.lower(), echo_time_ms=echo, repetition_time_ms=repetition, inversion_time_ms=inversion
    )
    assert classify(traits).kind is kind


@pytest.mark.parametrize(
    ("text", "contrast", "kind"),
    [
        ("ax t1", True, Kind.t1_post),
        ("ax t1", False, Kind.t1_pre),
        ("ax t1", None, Kind.t1_pre),
        # What somebody typed for this series counts more than what the scanner carries over from one to the next.
        ("ax t1 pre", True, Kind.t1_pre),
        ("ax t1 post", None, Kind.t1_post),
    ],
)
def test_contrast_agent(text: str, contrast: bool | None, kind: Kind) -> None:
    assert classify(replace(T1, text=text, contrast=contrast)).kind is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [("LOCALIZER", Kind.localiser), ("ADC", Kind.diffusion), ("MIP", Kind.derived), ("SUBTRACT", Kind.derived)],
)
def test_image_types_set_series_aside(code: str, kind: Kind) -> None:
    assert classify(replace(FLAIR, image_type=("DERIVED", "SECONDARY", code))).kind is kind


def test_the_reason_says_what_counted() -> None:
    assert classify(FLAIR).reason == "inversion time 2500 ms and 'FLAIR' in the description"
    assert classify(replace(FLAIR, text="")).reason == "inversion time 2500 ms"
    assert "a contrast agent in the header" in classify(replace(T1, contrast=True)).reason
    assert "echo time 10 ms and repetition time 600 ms" in classify(replace(T1, text="")).reason


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


TRAITS = st.builds(
    SeriesTraits,
    contrast=st.none() | st.booleans(),
    echo_time_ms=st.none() | st.floats(0, 500),
    repetition_time_ms=st.none() | st.floats(0, 12000),
    inversion_time_ms=st.none() | st.floats(0, 4000),
    text=st.lists(st.sampled_from(["t1", "t2", "flair", "gd", "pre", "+c", "post", "km", "mip", "jane", "loc"])).map(
        " ".join
    )
    | st.text(string.printable, max_size=30),
    plane=st.none() | st.sampled_from(Plane),
    slices=st.integers(0, 300),
)


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
@given(TRAITS, st.sampled_from(["_", " ", "-", "."]))
def test_separators_and_case_change_nothing(traits: SeriesTraits, separator: str) -> None:
    other = replace(traits, text=f"{separator}{traits.text.upper()}{separator}")
    assert classify(other).kind is classify(traits).kind


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_name_fits_one_series_or_is_refused(name: str) -> None:
    candidates = [Candidate("series 1 of 2", FLAIR, 301), Candidate("series 2 of 2", T1, 302)]
    try:
        (found,) = ranked(candidates, {SeriesRole.t1_pre: name})[SeriesRole.t1_pre]
    except NoSuchSeries:
        return
    assert found.index in (0, 1)
