"""The model card: what the networks are, what they learned from, how good they are, what they are not for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from tumor_training.evaluation.definitions import FIGURES, Unit, as_text, interval_as_text
from tumor_training.evaluation.patients import trained_on
from tumor_training.evaluation.provenance import SECOND, Provenance
from tumor_training.evaluation.report import area_class
from tumor_training.evaluation.run import SCHEMA
from tumor_training.splits import Split, site_of
from tumorctl.errors import InvalidInput, LeakedPatients, MismatchedFigures
from tumorctl.outputs.files import write_whole

TEMPLATE = "model_card.md.j2"

Metrics = Mapping[str, Any]


def read_metrics(path: Path) -> dict[str, Any]:
    """Read the ``metrics.json`` of an evaluation.

    Raises:
        InvalidInput: it cannot be read, or is not one.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        schema = content["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not a metrics.json of `tumorctl evaluate` ({type(error).__name__})") from error
    if schema != SCHEMA:
        raise InvalidInput(f"{path} has the schema {schema}, this version of tumorctl reads {SCHEMA}: evaluate again")
    return content


def write_card(
    path: Path, provenance: Provenance, split: Split, metrics: Metrics, replaced: Sequence[Metrics] = ()
) -> None:
    """Write the model card.

    Args:
        path: where to.
        provenance: of the networks.
        split: that they were trained with.
        metrics: of the test patients.
        replaced: the same with sequences replaced by the FLAIR.

    Raises:
        LeakedPatients: a test patient trained the networks, or nobody can tell.
        MismatchedFigures: figures are of other networks, of another split or of other patients.
        OutputError: the card could not be written.
    """
    write_whole(path, make_card(provenance, split, metrics, replaced).encode())


def make_card(provenance: Provenance, split: Split, metrics: Metrics, replaced: Sequence[Metrics] = ()) -> str:
    """The model card as Markdown. Arguments and errors as `write_card`."""
    check(provenance, split, metrics)
    if metrics["replaced"]:
        raise MismatchedFigures("the figures are of slices with a sequence replaced: evaluate without --replace")
    for other in replaced:
        check(provenance, split, other)
        if not other["replaced"]:
            raise MismatchedFigures("figures to compare must be of a run with --replace")
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  the card is Markdown, made of the project's own files
    )
    environment.filters.update(share=_share, text=_text)
    template = environment.from_string((files(__package__) / TEMPLATE).read_text("utf-8"))
    trained = trained_on(provenance, split)
    second = provenance.training.get(SECOND, {})
    second_fold = second.get("fold")
    return template.render(
        networks=provenance,
        classifier=_recipe(provenance.training.get("tumor_classifier", {})),
        segmenter=_recipe(provenance.training.get("tumor_segmenter", {})),
        second=_recipe(second),
        second_fold=second_fold,
        trained_second=split.train(second_fold),
        split=split,
        trained=trained,
        sites={name: Counter(map(site_of, part)) for name, part in (("trained", trained), ("test", split.test))},
        everyone=sorted({site_of(patient) for patient in (*split.test, *split.development)}),
        metrics=metrics,
        replaced=replaced,
        figures=[figure for figure in FIGURES if figure.name in metrics],
        table=_table,
        area_class=area_class,
        reproduce=reproduce,
    )


def check(provenance: Provenance, split: Split, metrics: Metrics) -> None:
    """Refuse figures that do not judge these networks on their test patients.

    Raises:
        LeakedPatients: a test patient trained the networks, or nobody can tell.
        MismatchedFigures: figures are of other networks, of another split or of other patients.
    """
    if split.digest != provenance.split_sha256:
        raise MismatchedFigures("the networks were trained with another split: name its file with --split")
    trained = trained_on(provenance, split)
    judges = set(metrics["by_patient"])
    if leaked := sorted(judges & trained) + sorted(set(metrics["trained_on"]) - trained):
        raise LeakedPatients(f"{len(leaked)} patients trained the networks and judge them, {leaked[0]} among them")
    if metrics["part"] != "test":
        raise MismatchedFigures(f"the figures are of the part {metrics['part']}, a card shows those of test patients")
    if metrics["split_sha256"] != split.digest or judges != set(split.test):
        raise MismatchedFigures("the figures are not of the test patients of the networks' split: evaluate again")
    if metrics["networks"]["digests"] != dict(provenance.digests):
        raise MismatchedFigures("the figures are of other networks than those of the manifest: evaluate again")
    thresholds = metrics["networks"]["thresholds"]
    if any(thresholds[name] not in (None, value) for name, value in provenance.thresholds.items()):
        raise MismatchedFigures("the figures were made with other thresholds than the networks': evaluate again")


def reproduce(metrics: Metrics) -> str:
    """The command that makes the same figures."""
    parts = ["tumorctl evaluate kaggle_3m --part test"]
    if metrics["networks"]["engine"] == "local":
        parts.append(f"--precision {metrics['networks']['precision']}")
    parts += [f"--replace {sequence}" for sequence in metrics["replaced"]]
    if spacing := metrics["spacing_mm"]:
        parts.append(f"--spacing-mm {spacing['row']:g} {spacing['column']:g}")
        parts += [f"--slice-spacing-mm {spacing['slice']:g}"] if spacing["slice"] else []
    settings = metrics["bootstrap"]
    parts.append(f"--resamples {settings['resamples']} --seed {settings['seed']}")
    return " ".join([*parts, "-o results/" + "-no-".join(["test", *metrics["replaced"]])])


def _recipe(run: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a run by their path, such as ``task.network.depth``, as the manifest has them."""
    found: dict[str, Any] = {}

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                walk(f"{prefix}{name}.", value)
            elif isinstance(value, list | tuple):
                found[prefix + name] = " x ".join(map(str, value))
            elif value is not None:
                found[prefix + name] = value

    walk("", {name: value for name, value in run.items() if name not in ("network", "output", "resume")})
    if "fold" in run and run["fold"] is None:
        found["fold"] = "none, all development patients train"
    if "best.value" not in found:
        found.pop("best.metric", None)
    return found


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _share(value: float | None) -> str:
    return as_text(value, Unit.share)


def _text(values: Metrics, figure: Any) -> str:
    """A headline figure with its interval."""
    interval = interval_as_text(values["intervals"][figure.name], figure.unit)
    text = as_text(values[figure.name], figure.unit)
    return f"{text} ({interval})" if interval else text
