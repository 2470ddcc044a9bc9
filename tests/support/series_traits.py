"""Series as headers tell of them."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from tumorctl.io.series import Plane, SeriesTraits

FLAIR = SeriesTraits(
    echo_time_ms=120, repetition_time_ms=9000, inversion_time_ms=2500, text="ax flair", plane=Plane.axial, slices=30
)
T1 = SeriesTraits(echo_time_ms=10, repetition_time_ms=600, text="ax t1", plane=Plane.axial, slices=30)

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
