"""The init containers' script, run as they run it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

CLASS = ["--engine-class", "h100", "--built-by", "tumorctl/engine-builder:1 sm 9.0"]
NETWORKS = ("tumor_classifier", "tumor_segmenter")


@pytest.fixture
def run(chart: Path) -> Run:
    """Runs models.py without site packages, as images that know nothing of ours have it."""

    def script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-B", chart / "files" / "models.py", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return script


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small model repository, of the shape of the real one."""
    root = tmp_path / "repository"
    models = {}
    for name in (*NETWORKS, "segmentation_gate", "tumor_detection"):
        (root / name / "configs").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(f"{name} with TensorRT")
        (root / name / "configs" / "onnxruntime.pbtxt").write_text(f"{name} with ONNX Runtime")
    for name in NETWORKS:
        (root / name / "1").mkdir()
        content = f"weights of {name}".encode()
        (root / name / "1" / "model.onnx").write_bytes(content)
        models[name] = {"onnx_sha256": hashlib.sha256(content).hexdigest()}
    (root / "segmentation_gate" / "1").mkdir()
    (root / "segmentation_gate" / "1" / "model.py").write_text("gate")
    (root / "manifest.json").write_text(json.dumps({"version": 1, "models": models}))
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("not ours")
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def write_sums(repository: Path) -> str:
    """SHA256SUMS as docs/deploy.md has an operator make it; its digest."""
    subprocess.run(
        "find . -type f ! -name SHA256SUMS ! -path '*/.*' -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS",
        shell=True,
        cwd=repository,
        check=True,
    )
    return hashlib.sha256((repository / "SHA256SUMS").read_bytes()).hexdigest()


def build(run: Run, repository: Path, engines: Path) -> subprocess.CompletedProcess[str]:
    """Put engines beside the networks, as the export does, and publish them."""
    for name in NETWORKS:
        (repository / name / "1" / "model_sm90.plan").write_text(f"engine of {name}")
        (repository / name / "config.pbtxt").write_text(f"{name} with its engine")
    return run("publish", "--source", repository, "--engines", engines, *CLASS)


def test_it_copies_what_belongs_to_the_repository(run: Run, repository: Path, target: Path) -> None:
    (target / "left").mkdir()
    (target / "left" / "over").write_text("of an earlier try")
    done = run("prepare", "--source", repository, "--target", target)
    assert done.returncode == 0, done.stderr
    assert (target / "tumor_segmenter" / "1" / "model.onnx").read_text() == "weights of tumor_segmenter"
    assert (target / "tumor_detection" / "1").is_dir()  # Triton wants a version, and object stores keep no folders
    assert not (target / "left").exists()
    assert not (target / ".git").exists()


def test_the_shipped_repository_passes(run: Run, target: Path) -> None:
    from tumorctl.config import bundled_repository
    from tumorctl.manifest import read_manifest

    done = run("prepare", "--source", bundled_repository(), "--target", target)
    assert done.returncode == 0, done.stderr
    read_manifest(target).verify()


@pytest.mark.parametrize("damage", ["changed", "missing", "no manifest", "an empty manifest", "no json"])
def test_it_refuses_a_damaged_repository(run: Run, repository: Path, target: Path, damage: str) -> None:
    network, manifest = repository / "tumor_classifier" / "1" / "model.onnx", repository / "manifest.json"
    match damage:
        case "changed":
            network.write_bytes(b"other weights")
        case "missing":
            network.unlink()
        case "no manifest":
            manifest.unlink()
        case "an empty manifest":
            manifest.write_text('{"version": 1, "models": {}}')
        case _:
            manifest.write_text("<html>")
    done = run("prepare", "--source", repository, "--target", target)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("refused: ")
    assert "Traceback" not in done.stderr


def test_with_a_digest_every_file_is_verified(run: Run, repository: Path, target: Path) -> None:
    digest = write_sums(repository)
    arguments = ["prepare", "--source", repository, "--target", target, "--sha256sums-digest"]
    done = run(*arguments, digest)
    assert done.returncode == 0, done.stderr
    assert "is not the one that was asked for" in run(*arguments, "0" * 64).stderr
    (repository / "segmentation_gate" / "1" / "model.py").write_text("another gate")
    assert "model.py is damaged" in run(*arguments, digest).stderr
    (repository / "segmentation_gate" / "1" / "model.py").write_text("gate")
    (repository / "segmentation_gate" / "1" / "extra.py").write_text("not listed")
    assert "extra.py" in run(*arguments, digest).stderr
    (repository / "SHA256SUMS").unlink()
    assert "refused: [Errno 2] No such file" in run(*arguments, digest).stderr


def test_engines_are_kept_whole_and_taken(run: Run, repository: Path, target: Path, tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", repository, source], check=True)
    done = build(run, repository, engines)
    assert done.returncode == 0, done.stderr
    (kept,) = (engines / "h100").iterdir()
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=kept, check=True, stdout=subprocess.DEVNULL)
    (source / "segmentation_gate" / "config.pbtxt").write_text("another threshold")
    done = run("prepare", "--source", source, "--target", target, "--engines", engines, *CLASS)
    assert done.returncode == 0, done.stderr
    for name in NETWORKS:
        assert (target / name / "1" / "model_sm90.plan").read_text() == f"engine of {name}"
        assert (target / name / "config.pbtxt").read_text() == f"{name} with its engine"
    assert (target / "segmentation_gate" / "config.pbtxt").read_text() == "another threshold"
    assert "is there already" in build(run, repository, engines).stderr


def test_engines_of_other_networks_or_builders_are_not_taken(
    run: Run, repository: Path, target: Path, tmp_path: Path
) -> None:
    engines = tmp_path / "engines"
    assert build(run, repository, engines).returncode == 0
    arguments = ["prepare", "--source", repository, "--target", target, "--engines", engines]
    for other in (["--engine-class", "l4", *CLASS[2:]], [*CLASS[:3], "tumorctl/engine-builder:2 sm 9.0"]):
        done = run(*arguments, *other)
        assert done.returncode == 1
        assert "no engines at" in done.stderr


def test_a_damaged_engine_is_refused(run: Run, repository: Path, target: Path, tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    assert build(run, repository, engines).returncode == 0
    next(engines.rglob("*.plan")).write_text("half of it")
    done = run("prepare", "--source", repository, "--target", target, "--engines", engines, *CLASS)
    assert "is damaged" in done.stderr


def test_without_engines_it_falls_back_to_onnx(run: Run, repository: Path, target: Path, tmp_path: Path) -> None:
    more = ["--engines", tmp_path, *CLASS, "--wait-s", "0", "--when-missing", "fallback"]
    done = run("prepare", "--source", repository, "--target", target, *more)
    assert done.returncode == 0, done.stderr
    assert "serving ONNX Runtime" in done.stderr
    for config in target.glob("*/config.pbtxt"):
        assert config.read_text().endswith("with ONNX Runtime")


def test_it_waits_for_engines_that_are_being_built(run: Run, repository: Path, target: Path, tmp_path: Path) -> None:
    engines, source = tmp_path / "engines", tmp_path / "source"
    subprocess.run(["cp", "-r", repository, source], check=True)
    results = []
    waits = ["--wait-s", "50", "--when-missing", "fail"]
    waiter = threading.Thread(
        target=lambda: results.append(
            run("prepare", "--source", source, "--target", target, "--engines", engines, *CLASS, *waits)
        )
    )
    waiter.start()
    while not (target / "tumor_detection" / "1").is_dir():
        time.sleep(0.05)
    assert build(run, repository, engines).returncode == 0
    waiter.join(60)
    assert results[0].returncode == 0, results[0].stderr
    assert (target / "tumor_classifier" / "1" / "model_sm90.plan").is_file()


def test_nothing_is_published_without_engines(run: Run, repository: Path, tmp_path: Path) -> None:
    done = run("publish", "--source", repository, "--engines", tmp_path / "engines", *CLASS)
    assert done.returncode == 1
    assert "holds no engine" in done.stderr
    assert not (tmp_path / "engines").exists()


def test_engines_are_built_once(run: Run, repository: Path, tmp_path: Path) -> None:
    engines, built = tmp_path / "engines", tmp_path / "built"
    arguments = ["build", "--source", repository, "--engines", engines, *CLASS, "--"]
    done = run(*arguments, "touch", built)
    assert done.returncode == 0, done.stderr
    assert built.is_file()
    built.unlink()
    assert build(run, repository, engines).returncode == 0
    done = run(*arguments, "touch", built)
    assert "nothing to build" in done.stderr
    assert not built.exists()


def test_a_builder_that_fails_or_is_missing_says_so(run: Run, repository: Path, tmp_path: Path) -> None:
    arguments = ["build", "--source", repository, "--engines", tmp_path, *CLASS, "--"]
    assert run(*arguments, "sh", "-c", "exit 7").returncode == 7
    done = run(*arguments, tmp_path / "absent")
    assert done.returncode == 1
    assert "cannot be started" in done.stderr
