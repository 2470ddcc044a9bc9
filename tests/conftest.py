"""Fixtures that many tests share: synthetic and real data, the real server, and the rule that CI may not skip."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import embedded_triton
from tumor_training.splits import read_split
from tumorctl import TumorClient
from tumorctl.serving.triton import ServeOptions, TritonServer

if TYPE_CHECKING:
    from tumor_training.run import RunOptions
    from tumor_training.splits import Split

# ONNX Runtime reports its use unless told before it is imported, which some tests do themselves.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
SHARED_DATA = Path(os.environ.get("TUMORCTL_TEST_DATA", ROOT.parent / "shared" / "data"))
FORBID_SKIPPING = os.environ.get("TUMORCTL_FORBID_SKIP") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where skipping is forbidden, a missing server, tool or data folder is a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if FORBID_SKIPPING and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here: {report.longrepr}"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TUMORCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in the Kaggle layout with eight real patients, spread over the sites: more than 200 slices."""
    return unpack_patients(tmp_path_factory.mktemp("patients"), "--patients", "8")


@pytest.fixture(scope="session")
def held_out_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in the Kaggle layout with the test patients of the committed split."""
    return unpack_patients(tmp_path_factory.mktemp("held-out"), "--only", *read_split().test)


RAW_PATIENT = "TCGA_FG_6692_20020606"


@pytest.fixture(scope="session")
def raw_study() -> Path:
    """Folder with the NIfTI files, as acquired, that the slices of `published_study` were made from."""
    return _shared_folder("nifti-tcga-fg-6692")


@pytest.fixture(scope="session")
def brats_study() -> Path:
    """Folder with one BraTS case and its label map."""
    return _shared_folder("nifti-brats-gli-00000")


@pytest.fixture(scope="session")
def published_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the published slices and labels of the patient of `raw_study`."""
    return unpack_patients(tmp_path_factory.mktemp("pair"), "--only", RAW_PATIENT) / RAW_PATIENT


def _shared_folder(name: str) -> Path:
    folder = SHARED_DATA / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not at {SHARED_DATA} (set TUMORCTL_TEST_DATA)")
    return folder


def unpack_patients(folder: Path, *arguments: str) -> Path:
    """Unpack real patients, or skip where the data is absent."""
    script = SHARED_DATA / "unpack_lgg.py"
    if not script.is_file():
        pytest.skip(f"the LGG slices are not at {SHARED_DATA} (set TUMORCTL_TEST_DATA)")
    subprocess.run([sys.executable, script, folder, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=200)
    return folder / "kaggle_3m"


@pytest.fixture
def healthy_t1(tmp_path: Path) -> Path:
    """Folder with the 64 DICOM slices of a real, defaced T1 series: no FLAIR, no contrast agent."""
    archive = SHARED_DATA / "dicom-t1-healthy" / "dicoms.tar.xz"
    if not archive.is_file():
        pytest.skip(f"the real DICOM series is not at {SHARED_DATA} (set TUMORCTL_TEST_DATA)")
    folder = tmp_path / "healthy"
    folder.mkdir()
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isfile():
                content = packed.extractfile(member)
                assert content is not None
                (folder / Path(member.name).name).write_bytes(content.read())
    return folder


@pytest.fixture
def small_networks(tmp_path: Path) -> Path:
    """A whole model repository with small networks of the contract's names, shapes and kinds of layers."""
    from small_networks import write_small_repository

    return write_small_repository(tmp_path)


@pytest.fixture(scope="session")
def options_for() -> Callable[..., ServeOptions]:
    """Makes options of a server on free ports of the loopback address, with its log in a folder."""
    return embedded_triton.options_for


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The real Triton with the shipped networks."""
    with embedded_triton.triton_server(tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="session")
def small_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The real Triton with small networks, whose gate lets made-up tumours through: where the networks do not matter.

    A slice takes it next to no time; the shipped segmenter takes a large part of a second.
    """
    from small_networks import BETWEEN, write_small_repository

    repository = write_small_repository(tmp_path_factory.mktemp("small"), gate_threshold=BETWEEN)
    with embedded_triton.triton_server(tmp_path_factory.mktemp("triton"), repository) as server:
        yield server


@pytest.fixture(params=["local", "triton"])
def client(request: pytest.FixtureRequest) -> Iterator[TumorClient]:
    """A client of each engine in turn: both must behave alike."""
    url = request.getfixturevalue("triton").grpc_url if request.param == "triton" else None
    with TumorClient(url) as made:
        yield made


@pytest.fixture(scope="session")
def phantoms() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The made-up brain with a tumour, uint8, shape (7, 256, 256, 3); slices 3 to 6 show the tumour."""
    files = [SAMPLES / "phantom-tumor" / f"phantom-tumor_{number}.png" for number in range(1, 8)]
    return np.stack([np.asarray(Image.open(file)) for file in files])


@pytest.fixture(scope="session")
def made_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in the Kaggle layout with six made-up patients of three sites, four slices each.

    Slices 2 and 3 show a bright disc in the FLAIR, which the label marks; slices 1 and 4 do not.
    """
    root = tmp_path_factory.mktemp("made") / "kaggle_3m"
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:256, 0:256]
    brain = np.hypot(rows - 128, columns - 128) < 100
    for number in range(6):
        patient = f"TCGA_{('CS', 'DU', 'HT')[number % 3]}_{number:04d}_19960101"
        (root / patient).mkdir(parents=True)
        for place in range(1, 5):
            image = (brain[:, :, np.newaxis] * random.integers(40, 80, (256, 256, 3))).astype(np.uint8)
            row, column = random.integers(70, 186, 2)
            tumor = (np.hypot(rows - row, columns - column) < 12 + 3 * number) & (place in (2, 3))
            image[tumor, 1] = 220
            stem = root / patient / f"{patient}_{place}"
            Image.fromarray(image).save(f"{stem}.tif")
            Image.fromarray((tumor * 255).astype(np.uint8)).save(f"{stem}_mask.tif")
    return root


@pytest.fixture(scope="session")
def made_split() -> Split:
    """One of the made-up patients judges, fold 0 of two patients validates, three patients train."""
    from tumor_training.splits import Split

    names = [f"TCGA_{('CS', 'DU', 'HT')[number % 3]}_{number:04d}_19960101" for number in range(6)]
    return Split(test=(names[0],), folds=((names[1], names[2]), (names[3], names[4]), (names[5],)))


@pytest.fixture(scope="session")
def one_thread() -> None:
    """PyTorch on one thread: small tensors gain nothing from more, and lose much where other processes compute."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made_runs(
    one_thread: None, made_patients: Path, made_split: Split, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[RunOptions, Path]]:
    """A run of each network on the made-up patients, two short epochs: its options and its best checkpoint."""
    from tumor_training.batches import LoaderOptions
    from tumor_training.run import RunOptions, train

    folder = tmp_path_factory.mktemp("runs")
    runs = {}
    for network in ("classifier", "segmenter"):
        loader = LoaderOptions(batch_size=2, negative_share=1 / 3)
        options = RunOptions(network, folder / network, loader=loader, epochs=2, precision="32-true", average=0.5)
        runs[network] = options, train(options, made_patients, made_split, folder / "cache")
    return runs


@pytest.fixture(scope="session")
def made_repository(
    made_runs: dict[str, tuple[RunOptions, Path]],
    made_patients: Path,
    made_split: Split,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model repository exported from the two short runs."""
    from tumor_export.export import export
    from tumor_training.dataset import load

    repository = tmp_path_factory.mktemp("exported") / "model_repository"
    classifier, segmenter = made_runs["classifier"][1], made_runs["segmenter"][1]
    export(classifier, segmenter, load(made_patients), made_split, repository, version=1)
    return repository
