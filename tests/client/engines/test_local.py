from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tumorctl import ClientOptions, DamagedModel, ModelError, Precision, TumorClient
from tumorctl.config import bundled_repository
from tumorctl.engines.openvino import choose_precision


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(bundled_repository(), tmp_path / "repository")
    return tmp_path / "repository"


@pytest.mark.parametrize("other", [Precision.auto, Precision.int8])
def test_precisions_agree_on_the_phantom(other: Precision, phantoms: npt.NDArray[np.uint8]) -> None:
    answers = []
    for precision in (Precision.fp32, other):
        with TumorClient(options=ClientOptions(precision=precision)) as client:
            answers.append(list(client.predict(phantoms)))
    for exact, default in zip(*answers, strict=True):
        assert exact.has_tumor == default.has_tumor
        assert abs(exact.tumor_probability - default.tumor_probability) < 0.05
        if exact.mask is not None and default.mask is not None and exact.has_tumor:
            overlap = 2 * (exact.mask & default.mask).sum() / (exact.mask.sum() + default.mask.sum())
            assert overlap > 0.97


def test_precision_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldProcessor:
        def get_property(self, device: str, name: object) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr("openvino.Core", OldProcessor)
    assert choose_precision(Precision.auto) is Precision.fp32
    with pytest.raises(ModelError, match="bf16"):
        choose_precision(Precision.bf16)


@pytest.mark.parametrize(
    ("flags", "fastest"),
    [
        ("flags : fma avx512_bf16 amx_bf16 amx_tile", Precision.bf16),
        ("flags : fma avx512_bf16", Precision.fp32),
        (None, Precision.fp32),
    ],
)
def test_bf16_is_chosen_only_where_it_is_the_faster_one(
    flags: str | None, fastest: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NewProcessor:
        def get_property(self, device: str, name: object) -> list[str]:
            return ["FP32", "BF16"]

    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags + "\n")
    monkeypatch.setattr("openvino.Core", NewProcessor)
    monkeypatch.setattr("tumorctl.engines.openvino._PROCESSOR", tmp_path / "cpuinfo")
    assert choose_precision(Precision.auto) is fastest
    assert choose_precision(Precision.bf16) is Precision.bf16


def test_a_damaged_network_is_not_used(repository: Path) -> None:
    network = next((repository / "tumor_classifier").glob("*/model.onnx"))
    with network.open("ab") as file:
        file.write(b"x")
    with pytest.raises(DamagedModel, match=r"model\.onnx is damaged"):
        TumorClient(options=ClientOptions(model_repository=str(repository)))


def test_a_missing_network_is_named(repository: Path) -> None:
    next((repository / "tumor_segmenter").glob("*/model.onnx")).unlink()
    with pytest.raises(DamagedModel, match="No such file"):
        TumorClient(options=ClientOptions(model_repository=str(repository)))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "models": {}, "thresholds": {}}'])
def test_what_is_not_a_manifest_is_refused(repository: Path, content: str) -> None:
    (repository / "manifest.json").write_text(content)
    with pytest.raises(ModelError, match="not a manifest"):
        TumorClient(options=ClientOptions(model_repository=str(repository)))


def test_a_folder_that_is_no_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model repository"):
        TumorClient(options=ClientOptions(model_repository=str(tmp_path)))


def test_thresholds_come_from_the_manifest(repository: Path, phantoms: npt.NDArray[np.uint8]) -> None:
    manifest = json.loads((repository / "manifest.json").read_text())
    manifest["thresholds"] = {"gate": 0.0, "mask": 1.0}
    (repository / "manifest.json").write_text(json.dumps(manifest))
    with TumorClient(options=ClientOptions(model_repository=str(repository))) as client:
        results = list(client.predict(phantoms))
    assert all(result.segmented for result in results)
    assert not any(result.area_px > 1000 for result in results)
