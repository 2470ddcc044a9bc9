"""The wheel on its own: built, installed in a fresh environment, used far from any clone."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=250)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_networks_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"tumorctl", "tumor_training", "tumor_export"} <= tops
    assert not tops & {"tests", "benchmarks", "samples"}
    networks = [name for name in names if name.endswith("model.onnx")]
    assert {name.split("/")[:3][2] for name in networks} == {"tumor_classifier", "tumor_segmenter"}
    for needed in ("manifest.json", "segmentation_gate/1/model.py", "tumor_detection/config.pbtxt", "py.typed"):
        assert any(name.endswith(needed) for name in names), needed
    # Triton needs the ensemble's version folder, which is empty but for this file.
    assert "tumorctl/model_repository/tumor_detection/1/.gitkeep" in names


def test_an_installed_wheel_predicts_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=100)
    bin_ = environment / "bin"
    install: list[str | Path] = [
        bin_ / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        f"tumorctl[local] @ {wheel.as_uri()}",
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=280)
    away = tmp_path / "away"
    shutil.copytree(ROOT / "samples" / "phantom-tumor", away / "scans")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TUMORCTL"))}
    done = subprocess.run(
        [bin_ / "tumorctl", "predict", "scans", "--output", "out"],
        cwd=away,
        env=variables,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    with (away / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["tumor"] for row in csv.DictReader(file)] == ["false"] * 2 + ["true"] * 4 + ["false"]
    listed = subprocess.run([bin_ / "python", "-m", "pip", "list"], capture_output=True, text=True, timeout=60).stdout
    assert not [line for line in listed.splitlines() if line.split()[0] in ("torch", "nvidia-pytriton", "onnxruntime")]
    sizes = {path: path.stat().st_size for path in environment.rglob("*") if path.is_file()}
    # All but the networks, which have a limit of their own.
    assert sum(size for path, size in sizes.items() if path.suffix != ".onnx") < 550_000_000
    missing = subprocess.run(
        [bin_ / "tumorctl", "train", "classifier", "scans", "-o", "x"], capture_output=True, cwd=away
    )
    assert missing.returncode == 2
    assert b"pip install 'tumorctl[train]'" in missing.stderr
    no_server = subprocess.run([bin_ / "tumorctl", "serve"], capture_output=True, cwd=away, timeout=60)
    assert no_server.returncode != 0
    assert b"pip install 'tumorctl[serve]'" in no_server.stderr
