from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tumor_training.evaluation import style
from tumor_training.evaluation.cohort import Cohort, Scored, SliceFiles
from tumor_training.evaluation.intervals import BootstrapOptions
from tumor_training.evaluation.plots import FILES, draw_plots
from tumor_training.evaluation.run import summary
from tumor_training.evaluation.worst import draw_worst
from tumorctl.errors import OutputError
from tumorctl.outputs.images import encode_mask

Drawn = dict[str, tuple[Figure, list[Axes]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The figures that were written, by file name."""
    figures: Drawn = {}
    original = style.picture

    def noting(path: Path, *args: Any, **kwargs: Any) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def wrapped() -> Iterator[tuple[Figure, list[Axes]]]:
            with original(path, *args, **kwargs) as made:
                figures[path.name] = made
                yield made

        return wrapped()

    monkeypatch.setattr("tumor_training.evaluation.plots.picture", noting)
    monkeypatch.setattr("tumor_training.evaluation.worst.picture", noting)
    return figures


def metrics_of(cohort: Cohort, resamples: int = 20) -> dict[str, Any]:
    thresholds = {"thresholds": {"gate": 0.4, "mask": 0.5}}
    return {
        "networks": thresholds,
        **summary(cohort, BootstrapOptions(resamples), lambda name, parts: lambda: None),
    }


def lines(axes: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in axes.get_lines()}


def test_plots_show_the_figures(random_cohort: Cohort, drawn: Drawn, tmp_path: Path) -> None:
    metrics = metrics_of(random_cohort)
    draw_plots(random_cohort, metrics, tmp_path)
    for name in FILES:
        with Image.open(tmp_path / "plots" / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 500
    roc = lines(drawn["roc.png"][1][0])
    (curve,) = (line for label, line in roc.items() if label.startswith(f"AUC {metrics['auc']:.3f} (95 % CI "))
    false, true = curve.get_data()
    area = float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
    assert area == pytest.approx(metrics["auc"], abs=1e-5)
    gate = roc["gate, at probability 0.4"]
    assert gate.get_data()[0][0] == pytest.approx(1 - metrics["gate_specificity"])
    assert gate.get_data()[1][0] == metrics["gate_sensitivity"]
    reliability = lines(drawn["reliability.png"][1][0])
    (line,) = (line for label, line in reliability.items() if label.startswith("ECE "))
    filled = [one for one in metrics["reliability"] if one["slices"]]
    assert list(line.get_data()[1]) == [one["share_with_tumor"] for one in filled]


def test_patients_are_sorted_and_marked_by_site(random_cohort: Cohort, drawn: Drawn, tmp_path: Path) -> None:
    metrics = metrics_of(random_cohort)
    draw_plots(random_cohort, metrics, tmp_path)
    (axes,) = drawn["dice_by_patient.png"][1]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == sorted(metrics["dice"], key=metrics["dice"].__getitem__)
    dots = lines(axes)
    for site in ("CS", "DU", "HT"):
        values, rows = dots[f"site {site}"].get_data()
        assert [metrics["dice"][names[row]] for row in rows] == list(values)
        assert {names[row].split("_")[1] for row in rows} == {site}
    assert len({dots[f"site {site}"].get_color() for site in ("CS", "DU", "HT")}) == 3
    assert len({dots[f"site {site}"].get_marker() for site in ("CS", "DU", "HT")}) == 3
    sizes = lines(drawn["dice_by_size.png"][1][0])
    assert sum(len(sizes[f"site {site}"].get_data()[0]) for site in ("CS", "DU", "HT")) == 12


def test_curves_that_are_not_defined_are_left_out_and_old_ones_removed(
    random_cohort: Cohort, make_cohort: Callable[..., Cohort], tmp_path: Path
) -> None:
    draw_plots(random_cohort, metrics_of(random_cohort), tmp_path)
    healthy = make_cohort({"a": [(0.1, False, 0, 0, 0)], "b": [(0.7, True, 0, 5, 0)]})
    draw_plots(healthy, metrics_of(healthy), tmp_path)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "dice_by_patient.png",
        "dice_by_size.png",
        "reliability.png",
    ]


def test_many_sites_stay_apart() -> None:
    looks = style.styles(f"site{number}" for number in range(30))
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 30


def test_a_plot_that_cannot_be_written_is_an_output_error(random_cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(OutputError):
        draw_plots(random_cohort, metrics_of(random_cohort, 0), tmp_path)


def save(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_the_worst_patients_are_pictured(make_cohort: Callable[..., Cohort], drawn: Drawn, tmp_path: Path) -> None:
    label = np.zeros((40, 40), np.bool_)
    label[:10, :10] = True
    slices = {
        "good": [(0.9, True, 100, 100, 100)],
        "bad": [(0.9, True, 100, 50, 40), (0.1, False, 80, 0, 0), (0.2, False, 0, 0, 0), (0.8, True, 0, 30, 0)],
        "poor": [(0.9, True, 100, 50, 50), (0.3, False, 0, 0, 0)],
    }
    files, folders = [], {}
    for patient, each in slices.items():
        folders[patient] = tmp_path / "data" / patient
        for number, (_, passed, labelled, predicted, _) in enumerate(each):
            path = folders[patient] / f"{number}.png"
            save(path, np.full((40, 40, 3), 90, np.uint8))
            save(path.with_name(f"{number}_mask.png"), (label & bool(labelled)).astype(np.uint8) * 255)
            mask = f"masks/{patient}_{number}.png" if passed and predicted else ""
            if mask:
                (tmp_path / "masks").mkdir(exist_ok=True)
                (tmp_path / mask).write_bytes(encode_mask(np.roll(label, 3, axis=1)))
            files.append(SliceFiles(f"{number}.png", number, mask))
    (folders["poor"] / "1.png").write_bytes(b"damaged")
    (tmp_path / "worst").mkdir()
    for old in ("01_earlier.png", "notes.txt"):
        (tmp_path / "worst" / old).touch()
    draw_worst(Scored(make_cohort(slices), tuple(files)), tmp_path, folders, 2)
    assert sorted(path.name for path in (tmp_path / "worst").iterdir()) == ["01_bad.png", "02_poor.png", "notes.txt"]
    titles = [axes.get_title(loc="left") for axes in drawn["01_bad.png"][1]]
    assert [title.split("\n")[0] for title in titles] == [
        "largest tumour: slice 0",
        "most missed: slice 1",
        "most outlined wrongly: slice 3",
    ]
    assert titles[1].split("\n")[1:] == [
        "probability 0.100, kept back by the gate",
        "label 80 px, missed 80 px, wrong 0 px",
    ]
    assert [len(axes.collections) for axes in drawn["01_bad.png"][1]] == [2, 1, 1]
    # Only two slices, of which one cannot be shown.
    assert len(drawn["02_poor.png"][1]) == 2
    assert "not a TIFF, PNG or JPEG image" in drawn["02_poor.png"][1][1].texts[0].get_text()
