from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from series_traits import FLAIR, T1, TRAITS
from tumorctl.io.kinds import Kind, classify
from tumorctl.io.series import SeriesTraits


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


@settings(deadline=None)
@given(TRAITS, st.sampled_from(["_", " ", "-", "."]))
def test_separators_and_case_change_nothing(traits: SeriesTraits, separator: str) -> None:
    other = replace(traits, text=f"{separator}{traits.text.upper()}{separator}")
    assert classify(other).kind is classify(traits).kind
