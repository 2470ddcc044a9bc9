"""Engines of small networks, with ONNX Runtime in TensorRT's place: an engine here is the graph that it is of.

All but the calls into TensorRT is real: the graphs in each precision, their answers, the comparisons, the files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from tumor_export.agreement import ParityError, onnx_runtime
from tumor_export.arithmetic import EnginePrecision
from tumor_export.engines.build import Toolchain, build_engines
from tumor_export.engines.errors import OutOfGpuMemory, WrongPrecision
from tumor_export.engines.gpu import Gpu
from tumor_export.precision import expected_types
from tumor_export.repository import parse_configuration
from tumorctl.contract import CLASSIFIER, NETWORKS, SEGMENTER
from tumorctl.errors import DamagedModel, InvalidInput, OutputError
from tumorctl.manifest import read_manifest

Images = npt.NDArray[np.uint8]
H100 = Gpu("NVIDIA H100", "9.0", 85_000_000_000, "13.4", "610.43.02")
SAID = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}


@dataclasses.dataclass(frozen=True)
class Compiled:
    plan: bytes
    inspected: str
    log: str = "INFO: built"
    seconds: float = 1.0


def metadata(node: str) -> str:
    return f"[ONNX Layer: {node}]"


def fake_build(graph: Path, timing_cache: Path | None) -> Compiled:
    """Stands in for TensorRT: says of the graph's convolutions that they compute as they should."""
    if timing_cache is not None:
        timing_cache.write_bytes(b"timings")
    layers = [
        {
            "LayerType": "CaskConvolution",
            "Inputs": [{"Format/Datatype": SAID[kind]}],
            "Metadata": f"[ONNX Layer: {name}]",
        }
        for name, kind in expected_types(onnx.load(graph)).items()
    ]
    return Compiled(graph.read_bytes(), json.dumps({"Layers": layers}))


def fake_answers(plan: bytes, images: Images) -> npt.NDArray[np.float32]:
    """Stands in for TensorRT: runs the graph."""
    import onnxruntime

    session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"IMAGE": images[i : i + 1]})[0] for i in range(len(images))])


@pytest.fixture
def toolchain() -> Toolchain:
    return Toolchain("11.1.0.106", H100, fake_build, fake_answers)


@pytest.fixture
def repository(small_networks: Path) -> Path:
    return small_networks


@pytest.fixture
def few(phantoms: Images) -> Images:
    """Two slices, the second with a tumour."""
    return phantoms[[0, 3]]


def snapshot(repository: Path) -> dict[str, str]:
    return {
        str(path.relative_to(repository)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in repository.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("precision", [EnginePrecision.fp32, EnginePrecision.fp16])
def test_engines_take_their_places(
    repository: Path, toolchain: Toolchain, few: Images, precision: EnginePrecision, tmp_path: Path
) -> None:
    before = snapshot(repository)
    made = build_engines(repository, toolchain, precision, few, timing_cache=tmp_path / "cache")
    assert (tmp_path / "cache").read_bytes() == b"timings"
    content = json.loads((repository / "manifest.json").read_text())
    for network in NETWORKS:
        plan = repository / network / "1" / "model_sm90.plan"
        assert made[network].path == plan
        assert made[network].parity.slices == 2
        configuration = parse_configuration(repository / network / "config.pbtxt")
        assert dict(configuration.cc_model_filenames) == {"9.0": "model_sm90.plan"}
        assert configuration.max_batch_size == 64
        entry = content["models"][network]["engines"]["sm90"]
        assert entry["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
        assert entry["onnx_sha256"] == content["models"][network]["onnx_sha256"]
        assert entry["precision"] == precision.value
        assert entry["convolutions"] == {precision.value: 3}
        assert (entry["tensorrt"], entry["cuda"], entry["driver"]) == ("11.1.0.106", "13.4", "610.43.02")
        assert (entry["gpu"], entry["compute_capability"]) == ("NVIDIA H100", "9.0")
        log = plan.with_suffix(".log").read_text()
        assert "INFO: built" in log
        assert "[ONNX Layer: first_conv]" in log
    changed = {name for name, digest in snapshot(repository).items() if before.get(name) != digest}
    assert changed == {
        "manifest.json",
        *(f"{network}/config.pbtxt" for network in NETWORKS),
        *(f"{network}/1/model_sm90.{suffix}" for network in NETWORKS for suffix in ("plan", "log")),
    }
    read_manifest(repository).verify()


def test_another_gpu_is_added_and_the_same_one_replaced(repository: Path, toolchain: Toolchain, few: Images) -> None:
    for capability in ("9.0", "8.6", "8.6", "12.0"):
        gpu = dataclasses.replace(H100, compute_capability=capability)
        build_engines(repository, dataclasses.replace(toolchain, gpu=gpu), EnginePrecision.fp16, few)
    content = json.loads((repository / "manifest.json").read_text())
    for network in NETWORKS:
        names = dict(parse_configuration(repository / network / "config.pbtxt").cc_model_filenames)
        assert names == {c: f"model_sm{c.replace('.', '')}.plan" for c in ("9.0", "8.6", "12.0")}
        assert content["models"][network]["engines"].keys() == {"sm90", "sm86", "sm120"}
        assert all((repository / network / "1" / name).is_file() for name in names.values())


def test_int8_engines_are_calibrated(repository: Path, toolchain: Toolchain, few: Images, phantoms: Images) -> None:
    made = build_engines(repository, toolchain, EnginePrecision.int8, few, calibration=phantoms[1:6])
    assert {network: dict(engine.convolutions) for network, engine in made.items()} == {
        CLASSIFIER: {"int8": 3},
        SEGMENTER: {"int8": 3},
    }
    assert made[SEGMENTER].graph_parity.dice < 1
    with pytest.raises(InvalidInput, match="needs development slices"):
        build_engines(repository, toolchain, EnginePrecision.int8, few)


def fallen_back(graph: Path, timing_cache: Path | None) -> Compiled:
    """An engine whose layers compute in single precision, whatever the graph says."""
    good = fake_build(graph, timing_cache)
    return dataclasses.replace(good, inspected=good.inspected.replace("Half", "Float"))


def out_of_memory(graph: Path, timing_cache: Path | None) -> Compiled:
    """The second network does not fit."""
    if SEGMENTER in str(graph):
        raise OutOfGpuMemory("no engine could be built: the GPU's memory is not enough")
    return fake_build(graph, timing_cache)


def off_by(error: float) -> Callable[[bytes, Images], npt.NDArray[np.float32]]:
    """An engine whose answers are all a little too high."""
    return lambda plan, images: fake_answers(plan, images) + np.float32(error)


def nothing(plan: bytes, images: Images) -> npt.NDArray[np.float32]:
    return np.full_like(fake_answers(plan, images), np.nan)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"build": fallen_back}, WrongPrecision),
        ({"build": out_of_memory}, OutOfGpuMemory),
        ({"answers": off_by(0.011)}, ParityError),
        ({"answers": nothing}, ParityError),
        ({"answers": lambda plan, images: fake_answers(plan, images)[:1]}, ParityError),
    ],
    ids=["another precision", "no memory", "other answers", "not a number", "answers missing"],
)
def test_an_engine_that_fails_a_check_leaves_no_trace(
    repository: Path, toolchain: Toolchain, few: Images, change: dict[str, object], error: type[Exception]
) -> None:
    before = snapshot(repository)
    with pytest.raises(error):
        build_engines(repository, dataclasses.replace(toolchain, **change), EnginePrecision.fp16, few)  # type: ignore[arg-type]
    assert snapshot(repository) == before
    assert not list(repository.glob(".engines-*"))


def test_a_segmenter_whose_masks_differ_is_refused(repository: Path, toolchain: Toolchain, few: Images) -> None:
    def shifted(plan: bytes, images: Images) -> npt.NDArray[np.float32]:
        """The classifier is right, the segmenter's masks are one pixel too far down."""
        answers = fake_answers(plan, images)
        return np.roll(answers, 1, axis=1) if answers.ndim == 3 else answers

    before = snapshot(repository)
    with pytest.raises(ParityError, match=r"the engine of tumor_segmenter: masks agree with Dice 0\.9\d+ only"):
        build_engines(repository, dataclasses.replace(toolchain, answers=shifted), EnginePrecision.fp16, few)
    assert snapshot(repository) == before


@pytest.mark.parametrize("precision", [EnginePrecision.fp16, EnginePrecision.int8])
def test_an_engine_whose_probabilities_are_off_is_refused_in_any_precision(
    repository: Path, toolchain: Toolchain, few: Images, precision: EnginePrecision
) -> None:
    def a_little_lower(plan: bytes, images: Images) -> npt.NDArray[np.float32]:
        """The classifier's probabilities are; the masks are right."""
        answers = fake_answers(plan, images)
        return answers - np.float32(0.03) if answers.ndim == 2 else answers

    lower = dataclasses.replace(toolchain, answers=a_little_lower)
    with pytest.raises(ParityError, match=r"the engine of tumor_classifier: a probability is off by 0\.03"):
        build_engines(repository, lower, precision, few[:1], calibration=few)


def test_a_damaged_network_is_not_built(repository: Path, toolchain: Toolchain, few: Images) -> None:
    path = repository / CLASSIFIER / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedModel):
        build_engines(repository, toolchain, EnginePrecision.fp16, few)


def test_a_repository_that_cannot_be_written_is_a_typed_error(
    repository: Path, toolchain: Toolchain, few: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a read-only volume refuses; root may write anywhere, so the refusal is made up."""

    def refuse(**where: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError, match=r"cannot be written to \(Permission denied\)"):
        build_engines(repository, toolchain, EnginePrecision.fp16, few)


def test_onnx_runtime_answers_for_no_slices_too(repository: Path) -> None:
    manifest = read_manifest(repository)
    assert onnx_runtime(manifest.onnx_path(CLASSIFIER))(np.empty((0, 256, 256, 3), np.uint8)).shape == (0, 1)
