"""Settings: argument > ``TUMORCTL_*`` in the environment > default, read when a client is made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tumorctl.contract import GATE
from tumorctl.errors import InvalidOption, ModelError
from tumorctl.manifest import MANIFEST_FILE
from tumorctl.types import ClientOptions, Precision

_PACKAGE = Path(__file__).parent


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TUMORCTL_", env_ignore_empty=True)

    url: str | None = None
    gate_threshold: float | None = None
    batch_size: int = 16
    timeout_s: float = 60.0
    precision: Precision = Precision.auto
    model_repository: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings with every choice made; fields as in `ClientOptions`."""

    url: str | None
    gate_threshold: float | None
    batch_size: int
    timeout_s: float
    precision: Precision
    model_repository: Path


def resolve(url: str | None, options: ClientOptions) -> Settings:
    """Put arguments, environment and defaults together.

    Raises:
        InvalidOption: a ``TUMORCTL_*`` variable holds what its setting cannot take.
    """
    try:
        environment = _Environment()
    except ValidationError as error:
        names = ", ".join(f"TUMORCTL_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        raise InvalidOption(f"environment variable {names}") from error
    checked = ClientOptions(
        gate_threshold=environment.gate_threshold if options.gate_threshold is None else options.gate_threshold,
        batch_size=options.batch_size or environment.batch_size,
        timeout_s=options.timeout_s or environment.timeout_s,
        precision=options.precision or environment.precision,
    )
    repository = options.model_repository or environment.model_repository
    return Settings(
        url=url or environment.url,
        gate_threshold=checked.gate_threshold,
        batch_size=checked.batch_size or environment.batch_size,
        timeout_s=checked.timeout_s or environment.timeout_s,
        precision=checked.precision or environment.precision,
        model_repository=Path(repository) if repository else bundled_repository(),
    )


def bundled_repository() -> Path:
    """The model repository that came with tumorctl: inside the wheel, or beside the sources in a clone.

    Raises:
        ModelError: there is none, or it holds no networks.
    """
    repository = bundled_skeleton()
    if not (repository / MANIFEST_FILE).is_file():
        raise ModelError("this installation holds no networks: reinstall tumorctl, or name a model repository")
    return repository


def bundled_skeleton() -> Path:
    """The bundled model repository, with networks or without.

    Raises:
        ModelError: there is none.
    """
    for candidate in (_PACKAGE / "model_repository", _PACKAGE.parents[1] / "model_repository"):
        if (candidate / GATE).is_dir():
            return candidate
    raise ModelError("this installation holds no model repository: reinstall tumorctl")


def state_folder() -> Path:
    """Where logs of managed servers go: ``XDG_STATE_HOME/tumorctl``."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tumorctl"
