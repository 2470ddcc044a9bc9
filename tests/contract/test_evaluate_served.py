"""`tumorctl evaluate` judges a server and the local engine alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumor_training.evaluation.intervals import BootstrapOptions
from tumor_training.evaluation.patients import Part
from tumor_training.evaluation.run import EvaluationOptions, evaluate
from tumor_training.splits import read_split
from tumorctl.serving.triton import TritonServer


def test_figures_of_the_server_are_those_of_the_local_engine(
    triton: TritonServer, made_patients: Path, tmp_path: Path
) -> None:
    """The made-up patients stand in no split, so they trained nothing."""
    found = []
    for url in (None, triton.grpc_url):
        options = EvaluationOptions(
            output=tmp_path / ("served" if url else "local"),
            part=Part.all,
            bootstrap=BootstrapOptions(resamples=10),
            worst=0,
        )
        found.append(evaluate(made_patients, read_split(), options, url=url))
    local, served = found
    assert (local["networks"]["engine"], served["networks"]["engine"]) == ("local", "triton")
    assert local["networks"]["digests"] == served["networks"]["digests"]
    assert served["trained_on"] == []
    assert served["by_patient"] == local["by_patient"]
    assert served["auc"] == pytest.approx(local["auc"], abs=1e-4)
