from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tumorctl.outputs.measured import MEASUREMENT_COLUMNS
from tumorctl.serving.triton import TritonServer

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "samples"
TUMORCTL = Path(sys.executable).with_name("tumorctl")


def tumorctl(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TUMORCTL, *arguments], capture_output=True, text=True, timeout=200, env={**os.environ, **variables}
    )


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    done = tumorctl("predict", SAMPLES, "--output", folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "phantom-tumor" in done.stdout
    assert "Research use only" in done.stdout
    return folder


def test_predictions_table(results: Path) -> None:
    rows = rows_of(results / "predictions.csv")
    assert list(rows[0]) == [
        "path",
        "study",
        "slice",
        "tumor_probability",
        "tumor",
        "segmented",
        "area_px",
        "mask",
        "error",
    ]
    assert [row["path"] for row in rows] == [
        f"{study}/{study}_{number}.png" for study in ("phantom-healthy", "phantom-tumor") for number in range(1, 8)
    ]
    for row in rows:
        sick = row["study"] == "phantom-tumor" and 3 <= int(row["slice"]) <= 6
        assert row["tumor"] == ("true" if sick else "false")
        assert bool(row["mask"]) == sick
        assert (int(row["area_px"]) > 0) == sick
        assert 0 <= float(row["tumor_probability"]) <= 1
        assert row["segmented"] == "true" or not sick
        assert row["error"] == ""


def test_studies_table(results: Path) -> None:
    slices = rows_of(results / "predictions.csv")
    healthy, sick = rows_of(results / "studies.csv")
    assert list(healthy) == [
        "study",
        "slices",
        "tumor_slices",
        "tumor_probability",
        "tumor",
        "largest_area_px",
        "error",
        *MEASUREMENT_COLUMNS,
    ]
    assert {healthy[column] for column in MEASUREMENT_COLUMNS} == {""}  # slices have no millimetres
    assert (healthy["study"], healthy["slices"], healthy["tumor_slices"]) == ("phantom-healthy", "7", "0")
    assert (healthy["tumor"], healthy["largest_area_px"]) == ("false", "0")
    assert (sick["study"], sick["slices"], sick["tumor_slices"], sick["tumor"]) == ("phantom-tumor", "7", "4", "true")
    own = [row for row in slices if row["study"] == "phantom-tumor"]
    assert sick["tumor_probability"] == max(row["tumor_probability"] for row in own)
    assert int(sick["largest_area_px"]) == max(int(row["area_px"]) for row in own)


def test_masks_and_overlays(results: Path) -> None:
    named = {row["mask"]: int(row["area_px"]) for row in rows_of(results / "predictions.csv") if row["mask"]}
    assert files_in(results) == {
        "predictions.csv",
        "studies.csv",
        "run.json",
        *named,
        *(name.replace("masks/", "overlays/", 1) for name in named),
    }
    for name, area in named.items():
        mask = Image.open(results / name)
        assert (mask.mode, mask.size) == ("L", (256, 256))
        values = np.asarray(mask)
        assert set(np.unique(values)) == {0, 255}
        assert (values == 255).sum() == area


def test_run_summary(results: Path) -> None:
    run = json.loads((results / "run.json").read_text())
    assert run["status"] == "complete"
    assert run["counts"] == {
        "studies": 2,
        "slices": 14,
        "tumor_slices": 4,
        "segmented": run["counts"]["segmented"],
        "failed": 0,
    }
    manifest = json.loads((ROOT / "model_repository" / "manifest.json").read_text())
    assert run["engine"]["model_digests"] == {name: model["onnx_sha256"] for name, model in manifest["models"].items()}
    assert run["thresholds"] == manifest["thresholds"]
    assert run["timings"]["seconds"] > 0


def test_json_summary_is_all_that_stdout_holds(tmp_path: Path) -> None:
    done = tumorctl("predict", SAMPLES / "phantom-tumor", "--output", tmp_path, "--json")
    assert json.loads(done.stdout)["counts"]["tumor_slices"] == 4
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_server_gives_the_same_tables(results: Path, tmp_path: Path, triton: TritonServer) -> None:
    done = tumorctl("predict", SAMPLES, "--output", tmp_path / "flag", "--url", triton.grpc_url)
    assert done.returncode == 0, done.stderr
    done = tumorctl("predict", SAMPLES, "--output", tmp_path / "variable", TUMORCTL_URL=triton.grpc_url)
    assert done.returncode == 0, done.stderr
    for folder in ("flag", "variable"):
        assert json.loads((tmp_path / folder / "run.json").read_text())["engine"]["engine"] == "triton"
        for table in ("predictions.csv", "studies.csv"):
            assert (tmp_path / folder / table).read_bytes() == (results / table).read_bytes()


@pytest.fixture
def bad_inputs(tmp_path: Path) -> Path:
    """A folder with one of every bad input among good slices."""
    folder = tmp_path / "scans" / "Müller ß 脳"
    folder.mkdir(parents=True)
    good = SAMPLES / "phantom-tumor" / "phantom-tumor_4.png"
    slice_: npt.NDArray[np.uint8] = np.asarray(Image.open(good))
    Image.fromarray(slice_).save(folder / "good_1.tif")
    (folder / "empty_2.tif").touch()
    (folder / "text_3.tif").write_text("this is text")
    whole = (folder / "good_1.tif").read_bytes()
    (folder / "truncated_4.tif").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(slice_[:, :, 0].astype(np.uint16) * 256).save(folder / "deep_5.tif")
    Image.fromarray(np.dstack([slice_, slice_[:, :, :1]])).save(folder / "four_6.png")
    Image.fromarray(slice_[:1, :1]).save(folder / "pixel_7.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge_8.png")
    (folder / "link_9.png").symlink_to(folder / "nowhere")
    Image.fromarray(slice_).resize((400, 300)).save(folder / "größe_10.png")
    return tmp_path / "scans"


def test_bad_inputs_become_rows_and_the_rest_is_done(bad_inputs: Path, tmp_path: Path) -> None:
    done = tumorctl("predict", bad_inputs, "--output", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    rows = {row["path"].split("/")[1]: row for row in rows_of(tmp_path / "out" / "predictions.csv")}
    reasons = {
        "empty_2.tif": "0 bytes",
        "text_3.tif": "not a TIFF, PNG or JPEG",
        "truncated_4.tif": "damaged or truncated",
        "deep_5.tif": "more than 8 bits",
        "four_6.png": "4 channels",
        "pixel_7.png": "too small",
        "huge_8.png": "too large",
        "link_9.png": "No such file",
    }
    for name, reason in reasons.items():
        assert reason in rows[name]["error"]
        unknown = [rows[name][column] for column in ("tumor_probability", "tumor", "segmented", "area_px", "mask")]
        assert unknown == [""] * 5
    for name, size in (("good_1.tif", (256, 256)), ("größe_10.png", (400, 300))):
        assert (rows[name]["tumor"], rows[name]["error"]) == ("true", "")
        with Image.open(tmp_path / "out" / rows[name]["mask"]) as mask:
            assert mask.size == size
    (study,) = rows_of(tmp_path / "out" / "studies.csv")
    assert (study["study"], study["slices"], study["tumor_slices"]) == ("Müller ß 脳", "10", "2")
    assert study["error"].startswith("8 of 10 slices failed")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["failed"] == 8
    assert not [name for name in files_in(tmp_path / "out") if "partial" in name]


def test_memory_stays_bounded_on_a_huge_image(bad_inputs: Path, tmp_path: Path) -> None:
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command: list[str | Path] = [TUMORCTL, "predict", bad_inputs, "--output", tmp_path / "out", "--json"]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, timeout=100)
    assert int(done.stdout.splitlines()[-1]) < 1_000_000  # kB


def test_mixed_studies_in_several_paths(tmp_path: Path) -> None:
    single = SAMPLES / "phantom-tumor" / "phantom-tumor_4.png"
    done = tumorctl("predict", SAMPLES / "phantom-healthy", single, "--output", tmp_path / "out", "--no-overlays")
    assert done.returncode == 0
    assert [row["study"] for row in rows_of(tmp_path / "out" / "studies.csv")] == ["phantom-healthy", "phantom-tumor"]
    assert not (tmp_path / "out" / "overlays").exists()


def test_masks_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    slice_ = Image.open(SAMPLES / "phantom-tumor" / "phantom-tumor_4.png")
    (tmp_path / "in").mkdir()
    slice_.save(tmp_path / "in" / "a.png")
    slice_.save(tmp_path / "in" / "a.tif")
    assert tumorctl("predict", tmp_path / "in", "--output", tmp_path / "out").returncode == 0
    assert [row["mask"] for row in rows_of(tmp_path / "out" / "predictions.csv")] == ["masks/a.png", "masks/a-2.png"]


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert tumorctl("predict", SAMPLES / "phantom-tumor", "--output", out).returncode == 0
    (out / "notes.txt").write_text("mine")
    assert tumorctl("predict", SAMPLES / "phantom-healthy", "--output", out).returncode == 0
    assert files_in(out) == {"predictions.csv", "studies.csv", "run.json", "notes.txt"}


def test_a_table_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("a,b\n1,2\n")
    done = tumorctl("predict", SAMPLES / "phantom-healthy", "--output", tmp_path)
    assert done.returncode == 1
    assert "choose another folder" in done.stderr
    assert (tmp_path / "predictions.csv").read_text() == "a,b\n1,2\n"


def test_results_inside_the_scans_are_not_taken_for_scans(tmp_path: Path) -> None:
    Image.open(SAMPLES / "phantom-tumor" / "phantom-tumor_4.png").save(tmp_path / "a.png")
    for _ in range(2):
        assert tumorctl("predict", tmp_path, "--output", tmp_path / "out").returncode == 0
        assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "PATH"),
        (["predict", "absent", "--output", "out"], "does not exist"),
        (["predict", ".", "--output", "out", "--gate-threshold", "2"], "between 0 and 1"),
        (["predict", ".", "--output", "out", "--precision", "int3"], "int3"),
        (["predict", ".", "--output", "out"], "no slices or studies found"),
        (["predict", ".", "--output", "."], "choose another folder"),
        (["predict", "a" * 300, "--output", "out"], "cannot be opened (File name too long)"),
    ],
)
def test_wrong_usage_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tumorctl(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_ends_with_4(tmp_path: Path) -> None:
    done = tumorctl("predict", SAMPLES, "--output", tmp_path / "out", "--url", "127.0.0.1:9")
    assert done.returncode == 4
    assert "no Triton server answers at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_cannot_be_made_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = tumorctl("predict", SAMPLES, "--output", tmp_path / "file" / "out")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_an_output_whose_links_lead_in_a_circle_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "out")
    done = tumorctl("predict", SAMPLES, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_path_whose_links_lead_in_a_circle_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    done = tumorctl("predict", tmp_path / "circle.png", SAMPLES / "phantom-healthy", "--output", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert [row["path"] for row in rows_of(tmp_path / "out" / "predictions.csv") if row["error"]] == ["circle.png"]
    assert "Traceback" not in done.stderr


def test_a_full_disk_costs_masks_and_not_the_run(tmp_path: Path) -> None:
    # A limit on file sizes stands for a full disk: the tables fit, the overlays do not.
    program = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command: list[str | Path] = [TUMORCTL, "predict", SAMPLES / "phantom-tumor", "--output", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, timeout=100)
    assert done.returncode == 3, done.stderr
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 7
    assert [bool(row["error"]) for row in rows] == [False, False, True, True, True, True, False]
    assert all("could not be written" in row["error"] for row in rows if row["error"])
    for name in files_in(tmp_path / "out"):
        assert not name.startswith("overlays")
        assert "partial" not in name


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, patients: Path, stopped_by: signal.Signals) -> None:
    out = tmp_path / "out"
    run = subprocess.Popen(
        [TUMORCTL, "predict", patients, "--output", out, "--batch-size", "4"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / "masks").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(stopped_by)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted"
    summary = json.loads((out / "run.json").read_text())
    rows = rows_of(out / "predictions.csv")
    assert summary["status"] == "interrupted"
    assert 0 < len(rows) == summary["counts"]["slices"] < 190
    masks = {row["mask"] for row in rows if row["mask"]}
    assert masks
    assert files_in(out) == {
        "predictions.csv",
        "studies.csv",
        "run.json",
        *masks,
        *(name.replace("masks/", "overlays/", 1) for name in masks),
    }
