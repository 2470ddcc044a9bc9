from __future__ import annotations

import ctypes
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from tumor_export.agreement import onnx_runtime
from tumor_export.cli import export
from tumor_export.engines import toolchain
from tumor_export.engines.build import Toolchain
from tumor_export.engines.gpu import Gpu
from tumor_export.precision import expected_types, read_graph
from tumor_export.slices import phantom_slices, read_some, slices_for
from tumor_training.splits import Split, read_split
from tumorctl.contract import NETWORKS
from tumorctl.errors import InvalidInput
from tumorctl.manifest import read_manifest

Images = npt.NDArray[np.uint8]
runner = CliRunner()


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    yield
    logging.getLogger("tumor_export").setLevel(logging.NOTSET)


def has_gpu() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_export_has_both_commands() -> None:
    for command in ("networks", "tensorrt"):
        assert runner.invoke(export, [command, "--help"]).exit_code == 0
    assert runner.invoke(export, ["a.ckpt", "b.ckpt", "data"]).exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --data or --phantoms"),
        (["--phantoms", "--data", "kaggle_3m"], "give either --data or --phantoms"),
        (["--phantoms", "--precision", "int8"], "int8 needs real slices"),
        (["--phantoms", "--precision", "fp8"], "fp8"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], message: str, small_networks: Path) -> None:
    done = runner.invoke(export, ["tensorrt", "--repository", str(small_networks), *options])
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.skipif(has_gpu(), reason="there is an NVIDIA driver here")
def test_without_a_gpu_the_command_says_where_to_build(small_networks: Path) -> None:
    done = runner.invoke(export, ["tensorrt", "--repository", str(small_networks), "--phantoms"])
    assert done.exit_code == 2
    assert "error: no NVIDIA driver here" in done.output
    assert not list(small_networks.rglob("*.plan"))


class Compiled:
    """What the stand-in builder makes: the graph itself."""

    log, seconds = "INFO: built", 61.0

    def __init__(self, graph: Path) -> None:
        self.plan = graph.read_bytes()
        said = {"fp16": "Half", "int8": "Int8", "fp32": "Float"}
        layers = [
            {"Inputs": [{"Format/Datatype": said[kind]}], "Metadata": f"[ONNX Layer: {name}]"}
            for name, kind in expected_types(read_graph(graph)).items()
        ]
        self.inspected = json.dumps({"Layers": layers})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ONNX Runtime and a made-up GPU stand in for TensorRT and a real one."""

    def answers(plan: bytes, images: Images) -> npt.NDArray[np.float32]:
        (tmp_path / "plan.onnx").write_bytes(plan)
        return onnx_runtime(tmp_path / "plan.onnx")(images)

    def find(release: str | None) -> Toolchain:
        gpu = Gpu("made-up GPU", "8.6", 0, "13.4", "")
        return Toolchain("11.1.0.106", gpu, lambda graph, cache: Compiled(graph), answers)

    monkeypatch.setattr(toolchain, "find_toolchain", find)


@pytest.mark.usefixtures("stand_in")
def test_the_command_builds_and_reports(small_networks: Path) -> None:
    done = runner.invoke(export, ["tensorrt", "--repository", str(small_networks), "--phantoms"])
    assert done.exit_code == 0, done.output
    assert "TensorRT 11.1.0.106 on made-up GPU" in done.output
    for network in NETWORKS:
        assert f"{network}: model_sm86.plan, convolutions 3 in fp16; on 42 slices off by at most 0" in done.output
        assert (small_networks / network / "1" / "model_sm86.plan").is_file()


@pytest.mark.usefixtures("stand_in")
def test_the_command_reads_validation_and_training_patients(
    small_networks: Path, made_patients: Path, made_split: Split, tmp_path: Path
) -> None:
    split_file = tmp_path / "split.json"
    split_file.write_text(made_split.to_json())
    command = ["tensorrt", "--repository", str(small_networks), "--data", str(made_patients), "--precision", "int8"]
    done = runner.invoke(export, [*command, "--split", str(split_file)])
    assert done.exit_code == 2
    assert "made with another split" in done.output
    manifest = json.loads((small_networks / "manifest.json").read_text())
    manifest["split"]["sha256"] = read_split(split_file).digest
    (small_networks / "manifest.json").write_text(json.dumps(manifest))
    done = runner.invoke(export, [*command, "--split", str(split_file), "--json"])
    assert done.exit_code == 0, done.output
    entries = json.loads(done.stdout)
    assert {entry["precision"] for entry in entries.values()} == {"int8"}
    assert {entry["parity"]["slices"] for entry in entries.values()} == {8}


def test_test_patients_are_not_read(
    made_patients: Path, made_split: Split, small_networks: Path, tmp_path: Path
) -> None:
    for patient in made_split.test:
        assert (made_patients / patient).is_dir()
    split_file = tmp_path / "split.json"
    split_file.write_text(made_split.to_json())
    manifest = json.loads((small_networks / "manifest.json").read_text())
    manifest["split"]["sha256"] = read_split(split_file).digest
    (small_networks / "manifest.json").write_text(json.dumps(manifest))
    compared, calibration = slices_for(small_networks, made_patients, split_file)
    assert calibration is not None
    assert (len(compared), len(calibration)) == (4 * len(made_split.validation(0)), 4 * len(made_split.train(0)))
    assert np.array_equal(compared, read_some(made_patients, made_split.validation(0), 100))
    manifest["split"] |= {"fold": None, "calibrated_on": [1]}
    (small_networks / "manifest.json").write_text(json.dumps(manifest))
    assert np.array_equal(
        slices_for(small_networks, made_patients, split_file)[0],
        read_some(made_patients, made_split.validation(1), 100),
    )
    forbidden = {image.tobytes() for image in read_some(made_patients, made_split.test, 100)}
    assert forbidden.isdisjoint(image.tobytes() for image in [*compared, *calibration])


def test_data_without_the_patients_is_refused(made_patients: Path) -> None:
    with pytest.raises(InvalidInput, match="holds none of the split's development patients"):
        read_some(made_patients, ["TCGA_XX_0000_19960101"], 10)


def test_phantoms_show_tumours_and_none(phantoms: Images) -> None:
    images = phantom_slices()
    assert images.shape == (42, 256, 256, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, phantom_slices())
    bright = (images[..., 1] > 140).mean(axis=(1, 2)).reshape(6, 7)
    assert (bright[0::2, 3] > bright[1::2, 3] + 0.005).all()


def test_engines_are_prepared_without_pytorch(small_networks: Path, tmp_path: Path) -> None:
    """As in NVIDIA's TensorRT container: PyTorch, Lightning, torchvision and OpenVINO cannot be imported."""
    graph = read_manifest(small_networks).onnx_path(NETWORKS[0])
    program = f"""
import sys
for name in ("torch", "lightning", "torchmetrics", "torchvision", "openvino", "safetensors"):
    sys.modules[name] = None
from pathlib import Path
import tumor_export.cli, tumor_export.engines.build, tumor_export.engines.toolchain
from tumor_export.arithmetic import EnginePrecision
from tumor_export.precision import prepare_graph
from tumor_export.slices import slices_for
images, _ = slices_for(Path({str(small_networks)!r}), None)
for precision in EnginePrecision:
    prepare_graph(Path({str(graph)!r}), Path({str(tmp_path / "made.onnx")!r}), precision, images[:4])
import tumor_training.dataset, tumor_training.splits
print(len(images))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "42"
