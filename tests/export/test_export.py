from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tumor_export import export as export_module
from tumor_export.agreement import Parity, ParityError
from tumor_export.export import export
from tumor_export.repository import configurations, parse_configuration
from tumor_export.slices import spread
from tumor_training.calibrate import Calibration, HeldOut, Scale
from tumor_training.dataset import SliceArrays, load
from tumor_training.inference import logits_of, probabilities_of
from tumor_training.networks import Mirrored, TumorSegmenter
from tumor_training.networks.folding import load_folded
from tumor_training.networks.weights import read_shipped
from tumor_training.run import RunOptions, load_task
from tumor_training.splits import Split
from tumorctl.contract import CLASSIFIER, GATE, NETWORKS, SEGMENTER
from tumorctl.engines.local import LocalEngine
from tumorctl.errors import InvalidInput
from tumorctl.manifest import read_manifest
from tumorctl.types import Precision

Runs = dict[str, tuple[RunOptions, Path]]


@pytest.fixture(scope="module")
def slices(made_patients: Path) -> SliceArrays:
    return load(made_patients)


@pytest.fixture
def checkpoints(made_runs: Runs, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of both runs that a test may damage."""
    for name, (_, best) in made_runs.items():
        (tmp_path / name).mkdir()
        for path in (best, best.with_name("run.json")):
            shutil.copyfile(path, tmp_path / name / path.name)
    return tmp_path / "classifier" / "best.ckpt", tmp_path / "segmenter" / "best.ckpt"


def test_an_exported_repository_is_whole(made_repository: Path) -> None:
    manifest = read_manifest(made_repository)
    manifest.verify()
    assert manifest.version == "1"
    assert not [path for path in made_repository.rglob("*") if path.name.startswith(".export-")]
    assert not list(made_repository.rglob("*.partial"))
    for path in configurations(made_repository, GATE):
        parameters = parse_configuration(path).parameters
        assert float(parameters["gate_threshold"].string_value) == manifest.gate_threshold
        assert float(parameters["mask_threshold"].string_value) == manifest.mask_threshold
        for name in NETWORKS:
            assert parameters[f"{name}_sha256"].string_value == manifest.digests[name]


def test_the_manifest_tells_how_the_networks_came_to_be(made_repository: Path, made_split: Split) -> None:
    content = json.loads((made_repository / "manifest.json").read_text())
    assert (content["split"]["fold"], content["split"]["calibrated_on"]) == (0, [0])
    assert re.fullmatch("[0-9a-f]{64}", content["split"]["sha256"])
    assert content["metrics"]["validation"]["patients"] == len(made_split.validation(0))
    assert content["metrics"]["validation"]["gate_sensitivity_large"] == 1.0
    for name in NETWORKS:
        assert content["models"][name]["parity"]["slices"] == 8
        assert all(least <= most for least, most in content["models"][name]["int8_ranges"].values())
        assert len(content["models"][name]["int8_ranges"]) > 10
        assert content["training"][name]["epochs"] == 2
    assert content["training"][CLASSIFIER]["best"]["metric"] == "val/auc"
    assert content["training"][SEGMENTER]["best"]["metric"] == "val/dice"
    assert content["tools"].keys() >= {"tumorctl", "python", "torch", "onnx", "onnxruntime"}


def test_no_file_names_a_place_of_this_machine(made_repository: Path, made_runs: Runs) -> None:
    places = [made_runs["classifier"][0].output.parent, made_repository.parent, Path.home(), Path(sys.prefix)]
    for path in made_repository.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [place for place in places if str(place).encode() in content], path


def test_weights_are_stored_in_half_precision(made_repository: Path) -> None:
    """Of the segmenter: half precision moves a classifier of two epochs further than is allowed."""
    model = onnx.load(made_repository / SEGMENTER / "1" / "model.onnx")
    half = sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    assert half > 15


def test_the_local_engine_answers_as_the_trained_networks(
    made_repository: Path, made_runs: Runs, slices: SliceArrays
) -> None:
    images = slices.images[:6]
    content = json.loads((made_repository / "manifest.json").read_text())
    networks = {name: load_task(made_runs[name][1]).network for name in ("classifier", "segmenter")}
    logits = torch.cat(list(logits_of(networks["classifier"], images)))
    calibrated = Scale(content["temperature"], content["offset"]).probabilities(logits).numpy()
    assert content["mirror"]
    masks = probabilities_of(Mirrored(networks["segmenter"]), images) >= np.float32(content["thresholds"]["mask"])
    engine = LocalEngine(made_repository, Precision.fp32)
    try:
        answer = engine.submit(images, gate_threshold=0.0, timeout_s=60).result(60)
        closed = engine.submit(images, gate_threshold=1.0, timeout_s=60).result(60)
    finally:
        engine.close()
    assert engine.info.gate_threshold == content["thresholds"]["gate"]
    np.testing.assert_allclose(answer.probabilities, calibrated, atol=2e-3)
    assert answer.segmented.all()
    assert (answer.masks != masks).mean() < 0.01
    assert not closed.masks.any()


def test_a_new_version_replaces_the_old_one(
    made_repository: Path,
    checkpoints: tuple[Path, Path],
    slices: SliceArrays,
    made_split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = tmp_path / "model_repository"
    shutil.copytree(made_repository, repository)

    def copy_graph(network: object, path: Path, *, half_weights: bool) -> None:
        """As the export of the same networks gave it."""
        shutil.copyfile(made_repository / path.stem / "1" / "model.onnx", path)

    monkeypatch.setattr(export_module, "export_onnx", copy_graph)
    done = export(*checkpoints, slices, made_split, repository, version=2)
    assert (done.version, done.half_weights) == (2, dict.fromkeys(NETWORKS, True))
    assert done.parity.keys() == set(NETWORKS)
    read_manifest(repository).verify()
    for name in NETWORKS:
        assert [f.name for f in (repository / name).iterdir() if f.name.isdecimal()] == ["2"]


@pytest.mark.parametrize("fails", ["half", "full"])
def test_half_weights_that_differ_give_way_to_full_ones_and_these_must_not(
    fails: str,
    checkpoints: tuple[Path, Path],
    slices: SliceArrays,
    made_split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def note_precision(network: object, path: Path, *, half_weights: bool) -> None:
        path.write_text("half" if half_weights else "full")

    def compare(network: object, path: Path, *arguments: object) -> Parity:
        precision = path.read_text()
        if path.stem == SEGMENTER and (precision == "half" or fails == "full"):
            raise ParityError(f"{path.name} differs")
        return Parity(8, 0.0, 1.0)

    monkeypatch.setattr(export_module, "export_onnx", note_precision)
    monkeypatch.setattr(export_module, "compare_classifier", compare)
    monkeypatch.setattr(export_module, "compare_segmenter", compare)
    monkeypatch.setattr(export_module, "measure_ranges", lambda path, images: {})
    repository = tmp_path / "model_repository"
    if fails == "half":
        done = export(*checkpoints, slices, made_split, repository, version=1)
        assert done.half_weights == {CLASSIFIER: True, SEGMENTER: False}
        assert (repository / CLASSIFIER / "1" / "model.onnx").read_text() == "half"
        assert (repository / SEGMENTER / "1" / "model.onnx").read_text() == "full"
    else:
        with pytest.raises(ParityError, match=f"{SEGMENTER}.onnx differs"):
            export(*checkpoints, slices, made_split, repository, version=1)
        assert not list(repository.rglob("*.onnx"))
        assert not (repository / "manifest.json").exists()


def edit(checkpoint: Path, **options: object) -> None:
    path = checkpoint.with_name("run.json")
    run = json.loads(path.read_text())
    run["options"].update(options)
    path.write_text(json.dumps(run))


def test_networks_validated_on_different_folds_are_refused(
    checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    edit(checkpoints[1], fold=1)
    with pytest.raises(InvalidInput, match="validated on different folds"):
        export(*checkpoints, slices, made_split, tmp_path / "model_repository", version=1)
    assert not (tmp_path / "model_repository").exists()


def test_networks_trained_with_another_split_are_refused(
    checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    other = dataclasses.replace(made_split, folds=made_split.folds[::-1])
    with pytest.raises(InvalidInput, match="another split"):
        export(*checkpoints, slices, other, tmp_path / "model_repository", version=1)
    assert not (tmp_path / "model_repository").exists()


def test_networks_that_learned_from_everyone_are_calibrated_on_the_folds(
    checkpoints: tuple[Path, Path],
    made_repository: Path,
    slices: SliceArrays,
    made_split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same networks stand in for those of two folds; what counts here is whose patients calibrate."""

    def copy_graph(network: object, path: Path, *, half_weights: bool) -> None:
        shutil.copyfile(made_repository / path.stem / "1" / "model.onnx", path)

    monkeypatch.setattr(export_module, "export_onnx", copy_graph)
    # The graphs copied hold another temperature.
    monkeypatch.setattr(export_module, "compare_classifier", lambda *arguments: Parity(8, 0.0, 1.0))
    folds = [make_fold(checkpoints, tmp_path / f"fold-{fold}", fold) for fold in (0, 2)]
    for checkpoint in checkpoints:
        edit(checkpoint, fold=None)
    repository = tmp_path / "model_repository"
    with pytest.raises(InvalidInput, match="have none left to calibrate on"):
        export(*checkpoints, slices, made_split, repository, version=1)
    with pytest.raises(InvalidInput, match="each fold once"):
        export(*checkpoints, slices, made_split, repository, version=1, folds=[folds[0], folds[0]])
    done = export(*checkpoints, slices, made_split, repository, version=1, folds=folds)
    assert done.calibration.metrics["patients"] == len({*made_split.validation(0), *made_split.validation(2)})
    content = json.loads((repository / "manifest.json").read_text())
    assert (content["split"]["fold"], content["split"]["calibrated_on"]) == (None, [0, 2])


def test_folds_do_not_calibrate_networks_that_have_patients_of_their_own(
    checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="learned from all development patients"):
        export(
            *checkpoints,
            slices,
            made_split,
            tmp_path / "r",
            version=1,
            folds=[make_fold(checkpoints, tmp_path / "f", 0)],
        )


def make_fold(checkpoints: tuple[Path, Path], folder: Path, fold: int) -> Path:
    """A folder with copies of two runs, as if this fold had validated them."""
    for name, checkpoint in zip(("classifier", "segmenter"), checkpoints, strict=True):
        shutil.copytree(checkpoint.parent, folder / name)
        edit(folder / name / checkpoint.name, fold=fold)
    return folder


def test_a_second_segmenter_looks_at_the_mirror_image(
    checkpoints: tuple[Path, Path], made_repository: Path, slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    """The second comes from a repository; it is another one than the first, whose last layer is changed."""
    content = torch.load(checkpoints[1], weights_only=True)
    content["state_dict"]["network.head.bias"] += 1.5
    torch.save(content, checkpoints[1])
    first, second = load_task(checkpoints[1]).network, TumorSegmenter()
    load_folded(second, read_shipped(SEGMENTER, made_repository))
    repository = tmp_path / "model_repository"
    export(*checkpoints, slices, made_split, repository, version=3, second=made_repository)
    images = slices.images[:4]
    session = onnxruntime.InferenceSession(repository / SEGMENTER / "3" / "model.onnx")
    (answer,) = session.run(None, {"IMAGE": images})
    np.testing.assert_allclose(answer, probabilities_of(Mirrored(first, second.eval()), images), atol=2e-3)
    assert np.abs(answer - probabilities_of(Mirrored(first), images)).max() > 0.05
    trained = json.loads((repository / "manifest.json").read_text())["training"]
    assert trained["tumor_segmenter.second"]["fold"] == 0
    assert trained["tumor_segmenter.second"]["task"] == trained[SEGMENTER]["task"]
    # To be tuned, the first one is taken.
    bias = read_shipped(SEGMENTER, repository)["head.bias"]
    torch.testing.assert_close(bias, content["state_dict"]["network.head.bias"])


def test_a_second_segmenter_of_another_fold_or_without_a_look_is_refused(
    checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    other = make_fold(checkpoints, tmp_path / "other", 1) / "segmenter" / checkpoints[1].name
    arguments = (*checkpoints, slices, made_split, tmp_path / "r")
    with pytest.raises(InvalidInput, match="not validated on fold 0"):
        export(*arguments, version=1, second=other)
    with pytest.raises(InvalidInput, match="leave the mirror on"):
        export(*arguments, version=1, second=checkpoints[1], mirror=False)
    with pytest.raises(InvalidInput, match="not a segmenter's"):
        export(*arguments, version=1, second=checkpoints[0])


def test_a_second_segmenter_does_not_look_at_patients_that_it_has_learned_from(
    checkpoints: tuple[Path, Path],
    slices: SliceArrays,
    made_split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = make_fold(checkpoints, tmp_path / "second", 2) / "segmenter" / checkpoints[1].name
    folds = [make_fold(checkpoints, tmp_path / f"fold-{fold}", fold) for fold in (0, 2)]
    for checkpoint in checkpoints:
        edit(checkpoint, fold=None)

    class Seen(Exception):
        pass

    def spy(held_out: Sequence[HeldOut], slices: SliceArrays) -> Calibration:
        raise Seen(*(part.segmenter.second is None for part in held_out))

    monkeypatch.setattr(export_module, "calibrate", spy)
    with pytest.raises(Seen) as seen:
        export(*checkpoints, slices, made_split, tmp_path / "r", version=1, second=second, folds=folds)
    assert seen.value.args == (True, False)


def test_a_fold_that_the_split_lacks_is_refused(
    checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    for checkpoint in checkpoints:
        edit(checkpoint, fold=7)
    with pytest.raises(InvalidInput, match="fold 7"):
        export(*checkpoints, slices, made_split, tmp_path / "model_repository", version=1)


def test_checkpoints_in_the_wrong_order_are_refused(
    checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="first checkpoint must be a classifier's"):
        export(checkpoints[1], checkpoints[0], slices, made_split, tmp_path / "model_repository", version=1)


@pytest.mark.parametrize("content", [None, "", "{}", '{"options": {"task": 1}}'])
def test_a_checkpoint_without_its_summary_is_refused(
    content: str | None, checkpoints: tuple[Path, Path], slices: SliceArrays, made_split: Split, tmp_path: Path
) -> None:
    summary = checkpoints[0].with_name("run.json")
    summary.unlink()
    if content is not None:
        summary.write_text(content)
    with pytest.raises(InvalidInput, match="is not the summary of a training run"):
        export(*checkpoints, slices, made_split, tmp_path / "model_repository", version=1)


@pytest.mark.parametrize(("size", "count", "chosen"), [(5, 8, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1, 3, [0])])
def test_parity_slices_are_spread_evenly(size: int, count: int, chosen: list[int]) -> None:
    indices = 100 + np.arange(size)
    assert (spread(indices, count) - 100).tolist() == chosen


def test_served_graphs_take_every_batch_up_to_the_limit(made_repository: Path) -> None:
    session = onnxruntime.InferenceSession(
        made_repository / CLASSIFIER / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for batch in (1, 7):
        (answer,) = session.run(None, {"IMAGE": np.zeros((batch, 256, 256, 3), np.uint8)})
        assert answer.shape == (batch, 1)


def test_what_an_export_made_cannot_be_changed() -> None:
    assert dataclasses.is_dataclass(export_module.Exported)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Parity(1, 0.0, 1.0).dice = 0.5  # type: ignore[misc]
