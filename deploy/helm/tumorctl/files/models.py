"""Fills a server's model repository, and keeps the engines that were built for a GPU class.

Runs in init containers with nothing but Python's own library:

    models.py prepare --source DIR --target DIR [--engines DIR --engine-class NAME --built-by TEXT ...]
    models.py build --source DIR --engines DIR --engine-class NAME --built-by TEXT -- COMMAND...
    models.py publish --source DIR --engines DIR --engine-class NAME --built-by TEXT

Engines are kept in ENGINES/CLASS/KEY with the configurations that serve them, where KEY stands for the networks and the
builder. The folder appears by a rename, so that no server sees half of it, and its SHA256SUMS covers every file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
POLL_S = 2.0


class Refused(Exception):
    """What is there must not be served; the message says why."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def files_of(repository: Path) -> list[str]:
    """Every file of a repository but its SHA256SUMS, relative, sorted; hidden ones belong to the storage, not to it."""
    found = []
    for path in repository.rglob("*"):
        relative = path.relative_to(repository)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and path.is_file() and str(relative) != SUMS:
            found.append(str(relative))
    return sorted(found)


def network_digests(repository: Path) -> dict[str, str]:
    """ONNX digests that the manifest names, by file relative to the repository.

    Raises:
        Refused: there is no manifest, or it is not one.
    """
    try:
        manifest = json.loads((repository / MANIFEST).read_text("utf-8"))
        version = str(int(manifest["version"]))
        return {f"{name}/{version}/model.onnx": str(model["onnx_sha256"]) for name, model in manifest["models"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{repository} is not a model repository: {MANIFEST}: {error!r}") from error


def verify_networks(repository: Path) -> None:
    """Compare every network with the manifest.

    Raises:
        Refused: a network is missing or differs, or the manifest names none.
    """
    digests = network_digests(repository)
    if not digests:
        raise Refused(f"{repository / MANIFEST} names no networks")
    for name, expected in digests.items():
        path = repository / name
        if not path.is_file():
            raise Refused(f"{path} is missing")
        if sha256_of(path) != expected:
            raise Refused(f"{path} is damaged: it differs from its SHA-256 in {MANIFEST}")


def verify_sums(repository: Path, digest: str | None = None) -> None:
    """Compare every file with SHA256SUMS.

    Args:
        repository: its folder.
        digest: SHA-256 that SHA256SUMS itself must have.

    Raises:
        Refused: a file is missing, differs, or is not listed.
    """
    path = repository / SUMS
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    if digest is not None and sha256_of(path) != digest:
        raise Refused(f"{path} is not the one that was asked for: its SHA-256 is {sha256_of(path)}")
    listed = {name.removeprefix("./"): expected for expected, _, name in (line.partition("  ") for line in lines)}
    present = files_of(repository)
    if set(listed) != set(present):
        raise Refused(f"{path} and the files differ: {', '.join(sorted(set(listed) ^ set(present)))}")
    for name, expected in listed.items():
        if sha256_of(repository / name) != expected:
            raise Refused(f"{repository / name} is damaged: it differs from its SHA-256 in {SUMS}")


def copy(source: Path, names: list[str], target: Path) -> None:
    """Copy files of one repository into another."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def engine_files(repository: Path) -> list[str]:
    """The engines of a repository and the configurations that serve them, relative.

    Raises:
        Refused: a network has no engine.
    """
    names = []
    for network in map(Path, network_digests(repository)):
        engines = sorted((repository / network.parent).glob("*.plan"))
        if not engines:
            raise Refused(f"{repository / network.parent} holds no engine (*.plan)")
        names += [str(path.relative_to(repository)) for path in engines]
        names.append(str(network.parent.parent / "config.pbtxt"))
    return names


def empty(folder: Path) -> None:
    """Remove what an earlier try left; the folder itself is a mount and stays."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def engine_folder(engines: Path, engine_class: str, built_by: str, digests: dict[str, str]) -> Path:
    """Where the engines of these networks by this builder are kept."""
    made_from = json.dumps([built_by, sorted(digests.items())])
    return engines / engine_class / hashlib.sha256(made_from.encode()).hexdigest()[:16]


def restore_empty_versions(repository: Path) -> None:
    """Give every model without a version folder the version 1: an ensemble's is empty, so that copies lose it."""
    for config in repository.glob("*/config.pbtxt"):
        if not any(child.is_dir() and child.name.isdigit() for child in config.parent.iterdir()):
            (config.parent / "1").mkdir()


def serve_onnx(repository: Path) -> None:
    """Have every model served from ONNX: its configuration becomes that of ONNX Runtime."""
    for config in repository.glob("*/configs/onnxruntime.pbtxt"):
        shutil.copyfile(config, config.parent.parent / "config.pbtxt")


def prepare(options: argparse.Namespace) -> None:
    """Copy the source and verify the copy; then add the engines, once they are there.

    Raises:
        Refused: something must not be served.
    """
    source, target = options.source, options.target
    empty(target)
    copy(source, files_of(source), target)
    if options.sha256sums_digest:
        copy(source, [SUMS], target)
        verify_sums(target, options.sha256sums_digest)
        (target / SUMS).unlink()
    verify_networks(target)
    restore_empty_versions(target)
    say(f"{len(files_of(target))} files in {target}, verified")
    if not options.engines:
        return
    kept = engine_folder(options.engines, options.engine_class, options.built_by, network_digests(target))
    if wait_for(kept / SUMS, options.wait_s):
        verify_sums(kept)
        copy(kept, files_of(kept), target)
        say(f"engines from {kept}")
    elif options.when_missing == "fail":
        raise Refused(f"no engines at {kept} after {options.wait_s:g} s: see the engine Job of this class")
    else:
        serve_onnx(target)
        say(f"no engines at {kept} after {options.wait_s:g} s: serving ONNX Runtime until this pod is replaced")


def wait_for(path: Path, wait_s: float) -> bool:
    """Whether a file is there now or comes within the time, in seconds."""
    deadline = time.monotonic() + wait_s
    while not path.is_file():
        if time.monotonic() >= deadline:
            return False
        say(f"waiting for {path.parent}")
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
    return True


def build(options: argparse.Namespace) -> None:
    """Become the command that builds engines, unless they are kept already.

    Raises:
        Refused: the command is not there.
    """
    kept = engine_folder(options.engines, options.engine_class, options.built_by, network_digests(options.source))
    if (kept / SUMS).is_file():
        say(f"{kept} is there already: nothing to build")
        return
    try:
        os.execvp(options.command[0], options.command)  # noqa: S606 (a list; the chart's)
    except OSError as error:
        raise Refused(f"{options.command[0]} cannot be started: {error.strerror}") from error


def publish(options: argparse.Namespace) -> None:
    """Keep the engines of a repository; where they are kept already, leave them.

    Raises:
        Refused: a network has no engine.
    """
    source = options.source
    verify_networks(source)
    kept = engine_folder(options.engines, options.engine_class, options.built_by, network_digests(source))
    if (kept / SUMS).is_file():
        say(f"{kept} is there already")
        return
    names = engine_files(source)
    kept.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=kept.parent))
    try:
        copy(source, names, aside)
        (aside / SUMS).write_text("".join(f"{sha256_of(aside / name)}  {name}\n" for name in sorted(names)), "utf-8")
        os.sync()
        aside.chmod(0o755)
        aside.rename(kept)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not (kept / SUMS).is_file():  # another Job of the same name was faster
            raise
    say(f"engines in {kept}")


def say(message: str) -> None:
    """A line for the container's log."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 (a container's log)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Prepare a model repository, or keep engines.")
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("prepare", "build", "publish"):
        action = actions.add_parser(name)
        action.add_argument("--source", type=Path, required=True)
        action.add_argument("--engines", type=Path, required=name != "prepare")
        action.add_argument("--engine-class", required=name != "prepare")
        action.add_argument("--built-by", required=name != "prepare")
    actions.choices["build"].add_argument("command", nargs="+")
    action = actions.choices["prepare"]
    action.add_argument("--target", type=Path, required=True)
    action.add_argument("--sha256sums-digest")
    action.add_argument("--wait-s", type=float, default=0.0)
    action.add_argument("--when-missing", choices=["fallback", "fail"], default="fail")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = parse()
    try:
        {"prepare": prepare, "build": build, "publish": publish}[chosen.action](chosen)
    except (Refused, OSError) as problem:
        sys.exit(f"refused: {problem}")
