from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tumor_export.repository import (
    configurations,
    copy_skeleton,
    forget_engines,
    install_networks,
    next_version,
    parse_configuration,
    write_engine_manifest,
    write_engine_names,
    write_manifest,
    write_thresholds,
)
from tumor_training.calibrate import Scale
from tumorctl.config import bundled_skeleton
from tumorctl.contract import CLASSIFIER, GATE, MODELS, NETWORKS, SEGMENTER
from tumorctl.errors import ModelError
from tumorctl.manifest import read_manifest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A skeleton without networks."""
    folder = tmp_path / "model_repository"
    copy_skeleton(bundled_skeleton(), folder)
    return folder


def install(repository: Path, version: int) -> None:
    """Networks that are their name and version."""
    paths = {}
    for name in NETWORKS:
        paths[name] = repository / f"{name}.new"
        paths[name].write_text(f"{name} {version}")
    install_networks(repository, version, paths)


def test_a_skeleton_has_all_configurations_and_code_and_no_networks(repository: Path) -> None:
    names = {path.name for path in repository.rglob("*") if path.is_file()}
    assert not names & {"model.onnx", "model.plan", "manifest.json"}
    assert not list(repository.rglob("__pycache__"))
    for model in MODELS:
        assert {path.name for path in configurations(repository, model)} >= {
            "config.pbtxt",
            "embedded.pbtxt",
            "onnxruntime.pbtxt",
        }
        assert [folder for folder in (repository / model).iterdir() if folder.name.isdecimal()]
    assert (repository / GATE / "1" / "model.py").read_bytes() == (
        bundled_skeleton() / GATE / "1" / "model.py"
    ).read_bytes()


def test_a_skeleton_replaces_nothing(repository: Path) -> None:
    config = repository / GATE / "config.pbtxt"
    config.write_text("mine")
    copy_skeleton(bundled_skeleton(), repository)
    assert config.read_text() == "mine"


def test_networks_of_the_source_are_not_copied(repository: Path, tmp_path: Path) -> None:
    install(repository, 1)
    (repository / "manifest.json").write_text("{}")
    (repository / SEGMENTER / "1" / "model.plan").write_text("engine")
    copy_skeleton(repository, tmp_path / "copy")
    copied = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert "config.pbtxt" in copied
    assert not copied & {"model.onnx", "model.plan", "manifest.json"}


def test_the_next_version_follows_the_newest_network(repository: Path, tmp_path: Path) -> None:
    assert next_version(tmp_path / "none") == 1
    assert next_version(repository) == 1
    install(repository, 1)
    assert next_version(repository) == 2
    install(repository, 9)
    (repository / CLASSIFIER / "10").mkdir()
    (repository / CLASSIFIER / "10" / "model.onnx").write_text("")
    assert next_version(repository) == 11


def test_networks_take_their_place_and_older_versions_go(repository: Path) -> None:
    for version in (1, 2, 10):
        install(repository, version)
        for name in NETWORKS:
            assert [f.name for f in (repository / name).iterdir() if f.name.isdecimal()] == [str(version)]
            folder = repository / name / str(version)
            assert (folder / "model.onnx").read_text() == f"{name} {version}"
            assert "OnnxModel" in (folder / "embedded.py").read_text()
            assert not (repository / f"{name}.new").exists()
    assert (repository / GATE / "1" / "model.py").is_file()


def test_a_version_can_be_installed_again(repository: Path) -> None:
    install(repository, 3)
    (repository / CLASSIFIER / "3" / "model.onnx").write_text("old")
    install(repository, 3)
    assert (repository / CLASSIFIER / "3" / "model.onnx").read_text() == f"{CLASSIFIER} 3"


def test_networks_need_a_skeleton(repository: Path) -> None:
    next((repository / SEGMENTER).glob("*/embedded.py")).unlink()
    with pytest.raises(ModelError, match=f"{SEGMENTER} has no embedded.py"):
        install(repository, 1)


def test_thresholds_version_and_digests_are_in_every_configuration_of_the_gate(repository: Path) -> None:
    install(repository, 4)
    write_thresholds(repository, 4, 0.0312, 0.45)
    paths = configurations(repository, GATE)
    assert len(paths) == 3
    for path in paths:
        parameters = {name: value.string_value for name, value in parse_configuration(path).parameters.items()}
        assert parameters == {
            "gate_threshold": "0.0312",
            "mask_threshold": "0.45",
            "networks_version": "4",
            **{f"{name}_sha256": hashlib.sha256(f"{name} 4".encode()).hexdigest() for name in NETWORKS},
        }


def test_thresholds_can_be_written_again_and_change_nothing_else(repository: Path) -> None:
    install(repository, 1)
    before = [path.read_text() for path in configurations(repository, GATE)]
    write_thresholds(repository, 1, 0.25, 0.75)
    write_thresholds(repository, 1, 1e-05, 0.5)
    for path, text in zip(configurations(repository, GATE), before, strict=True):
        changed = [new for new, old in zip(path.read_text().splitlines(), text.splitlines(), strict=True) if new != old]
        assert all(line.startswith("parameters {") for line in changed)
        assert parse_configuration(path).parameters["gate_threshold"].string_value == "1e-05"


@pytest.mark.parametrize("change", ["missing", "twice"])
def test_a_configuration_must_have_each_parameter_once(repository: Path, change: str) -> None:
    install(repository, 1)
    path = repository / GATE / "configs" / "embedded.pbtxt"
    text = path.read_text()
    (line,) = [line for line in text.splitlines(keepends=True) if "mask_threshold" in line]
    path.write_text(text.replace(line, "" if change == "missing" else 2 * line))
    with pytest.raises(ModelError, match=r"embedded\.pbtxt does not have the parameter mask_threshold once"):
        write_thresholds(repository, 1, 0.5, 0.5)


@pytest.mark.parametrize("model", MODELS)
def test_every_bundled_configuration_parses_with_tritons_schema(repository: Path, model: str) -> None:
    for path in configurations(repository, model):
        parsed = parse_configuration(path)
        assert parsed.name == model
        assert parsed.max_batch_size == 64
        assert text_format.Parse(text_format.MessageToString(parsed), ModelConfig()) == parsed


def test_what_is_not_a_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text('nme: "typo"')
    with pytest.raises(ModelError, match="is not a model configuration"):
        parse_configuration(path)


def test_the_manifest_ties_a_version_to_its_files(repository: Path) -> None:
    install(repository, 2)
    write_manifest(
        repository,
        2,
        thresholds={"gate": 0.03, "mask": 0.45},
        scale=Scale(1.2, -0.5),
        split={"sha256": "s", "fold": 0},
        metrics={"mean_volume_dice": 0.8},
        parity={name: {"max_error": 1e-5} for name in NETWORKS},
        int8_ranges={name: {"relu": (0.0, 2.5)} for name in NETWORKS},
        tools={"torch": "2"},
        training={"seed": 0},
        mirror=True,
    )
    manifest = read_manifest(repository)
    manifest.verify()
    assert (manifest.version, manifest.gate_threshold, manifest.mask_threshold) == ("2", 0.03, 0.45)
    content = json.loads((repository / "manifest.json").read_text())
    assert content["models"][CLASSIFIER]["onnx_bytes"] == len(f"{CLASSIFIER} 2")
    assert content["models"][SEGMENTER]["parity"] == {"max_error": 1e-5}
    assert content["metrics"] == {"validation": {"mean_volume_dice": 0.8}}
    assert (content["temperature"], content["offset"]) == (1.2, -0.5)
    assert (content["split"]["fold"], content["training"]) == (0, {"seed": 0})


def engine_names(repository: Path, network: str) -> dict[str, str]:
    return dict(parse_configuration(repository / network / "config.pbtxt").cc_model_filenames)


def test_engines_are_named_beside_each_other(repository: Path) -> None:
    path = repository / CLASSIFIER / "config.pbtxt"
    before = path.read_text()
    write_engine_names(repository, CLASSIFIER, {"9.0": "model_sm90.plan"})
    write_engine_names(repository, CLASSIFIER, {"8.6": "model_sm86.plan", "9.0": "other.plan"})
    assert engine_names(repository, CLASSIFIER) == {"8.6": "model_sm86.plan", "9.0": "other.plan"}
    assert path.read_text().startswith(before)
    assert engine_names(repository, SEGMENTER) == {}
    forget_engines(repository)
    assert path.read_text() == before


def test_new_networks_leave_the_engines_of_the_old_behind(repository: Path) -> None:
    for version in (1, 1, 2):
        install(repository, version)
        for name in NETWORKS:
            assert engine_names(repository, name) == {}
            assert not list((repository / name).rglob("*.plan"))
            write_engine_names(repository, name, {"9.0": "model_sm90.plan"})
            (repository / name / str(version) / "model_sm90.plan").write_text("engine")


def test_a_skeleton_names_no_engines(repository: Path, tmp_path: Path) -> None:
    write_engine_names(repository, SEGMENTER, {"9.0": "model_sm90.plan"})
    (version,) = (repository / SEGMENTER).glob("[0-9]*")
    (version / "model_sm90.plan").write_text("engine")
    (version / "model_sm90.log").write_text("log")
    copy_skeleton(repository, tmp_path / "copy")
    assert engine_names(tmp_path / "copy", SEGMENTER) == {}
    assert not list((tmp_path / "copy").rglob("model_sm90.*"))
    copy_skeleton(bundled_skeleton(), repository)
    assert engine_names(repository, SEGMENTER) == {"9.0": "model_sm90.plan"}


def test_engines_need_a_manifest(repository: Path) -> None:
    with pytest.raises(ModelError, match="is not a manifest"):
        write_engine_manifest(repository, "sm90", {SEGMENTER: {}})
    (repository / "manifest.json").write_text("{}")
    with pytest.raises(ModelError, match="is not a manifest"):
        write_engine_manifest(repository, "sm90", {SEGMENTER: {}})


def test_an_engine_cannot_be_named_in_what_is_no_configuration(repository: Path) -> None:
    path = repository / SEGMENTER / "config.pbtxt"
    path.write_text('nme: "typo"\n')
    with pytest.raises(ModelError, match="is not a model configuration"):
        write_engine_names(repository, SEGMENTER, {"9.0": "model_sm90.plan"})
    assert path.read_text() == 'nme: "typo"\n'
