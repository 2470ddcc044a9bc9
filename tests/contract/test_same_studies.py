"""A whole study through the served ensemble: the same outline as through the local engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import pytest

from clinical_phantoms import Phantom
from tumorctl import TumorClient
from tumorctl.serving.triton import TritonServer
from tumorctl.study import StudyPrediction


def predict_both(study: Path, triton: TritonServer) -> tuple[StudyPrediction, StudyPrediction]:
    with TumorClient() as local, TumorClient(triton.grpc_url) as served:
        return local.predict_study(study), served.predict_study(study)


def assert_same(local: StudyPrediction, served: StudyPrediction) -> None:
    assert (local.engine.engine, served.engine.engine) == ("local", "triton")
    assert served.engine.model_digests == local.engine.model_digests
    assert served.grid == local.grid
    assert served.slice_segmented == local.slice_segmented
    known = [probability is not None for probability in local.slice_probabilities]
    assert [probability is not None for probability in served.slice_probabilities] == known
    pairs = zip(local.slice_probabilities, served.slice_probabilities, strict=True)
    assert max(abs(one - other) for one, other in pairs if one is not None and other is not None) <= 1e-3
    assert served.tumor_probability == pytest.approx(local.tumor_probability, abs=1e-3)
    assert served.series == local.series
    assert served.registration == local.registration
    assert served.warnings == local.warnings
    total = local.mask.sum() + served.mask.sum()
    assert total > 0
    assert 2 * (local.mask & served.mask).sum() / total >= 0.999


def test_a_real_study_with_all_three_series(raw_study: Path, triton: TritonServer, tmp_path: Path) -> None:
    # Ten slices of the FLAIR that show the tumour: all of them would say no more and take longer.
    flair: Any = nibabel.load(raw_study / "flair.nii.gz")
    nibabel.save(flair.slicer[:, :, 12:22], tmp_path / "flair.nii.gz")
    for name in ("t1_pre.nii.gz", "t1_post.nii.gz"):
        (tmp_path / name).symlink_to(raw_study / name)
    local, served = predict_both(tmp_path, triton)
    assert_same(local, served)
    assert not any(choice.substituted for choice in served.series)


def test_a_study_in_dicom(triton: TritonServer, tmp_path: Path) -> None:
    phantom = Phantom(shape=(10, 64, 72), spacing_mm=(16.0, 3.6, 3.2))
    local, served = predict_both(phantom.write(tmp_path / "study"), triton)
    assert_same(local, served)
    assert (served.mask & phantom.mask).any()
    assert served.measurements.volume_ml == pytest.approx(local.measurements.volume_ml, rel=2e-3)
    assert served.to_dicom_seg().NumberOfFrames == local.to_dicom_seg().NumberOfFrames
