"""Settings: argument > ``TUMORCTL_*`` in the environment > profile > default, read when a client is made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from tumorctl.contract import GATE
from tumorctl.errors import InvalidOption, ModelError
from tumorctl.manifest import MANIFEST_FILE
from tumorctl.profiles import read_profile
from tumorctl.types import ClientOptions, ConnectionOptions, Precision, TlsOptions

_PACKAGE = Path(__file__).parent
_PREFIX = "TUMORCTL_"


class _Given(BaseSettings):
    """What environment and profile say; a profile is handed in as arguments, which the environment overrides."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", hide_input_in_errors=True
    )

    url: str | None = None
    gate_threshold: float | None = None
    batch_size: int = 16
    timeout_s: float = 60.0
    precision: Precision = Precision.auto
    model_repository: str | None = None
    tls: bool | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    token: SecretStr | None = None
    token_file: str | None = None
    token_header: str | None = None
    headers: dict[str, str] | None = None
    allow_plaintext_token: bool = False
    trace_context: bool = True

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings with every choice made; fields as in `ClientOptions`.

    Attributes:
        connection: nothing in it is left to choose; its ``tls`` is None where only the address can say.
    """

    url: str | None
    gate_threshold: float | None
    batch_size: int
    timeout_s: float
    precision: Precision
    model_repository: Path
    connection: ConnectionOptions


def resolve(url: str | None, options: ClientOptions, connection: ConnectionOptions | None = None) -> Settings:
    """Put arguments, environment, profile and defaults together.

    Raises:
        InvalidOption: a ``TUMORCTL_*`` variable or the profile holds what its setting cannot take, or there is no such
            profile.
    """
    connection = connection or ConnectionOptions()
    given = _given(connection.profile)
    checked = ClientOptions(
        gate_threshold=given.gate_threshold if options.gate_threshold is None else options.gate_threshold,
        batch_size=options.batch_size or given.batch_size,
        timeout_s=options.timeout_s or given.timeout_s,
        precision=options.precision or given.precision,
    )
    repository = options.model_repository or given.model_repository
    return Settings(
        url=url or given.url,
        gate_threshold=checked.gate_threshold,
        batch_size=checked.batch_size or given.batch_size,
        timeout_s=checked.timeout_s or given.timeout_s,
        precision=checked.precision or given.precision,
        model_repository=Path(repository) if repository else bundled_repository(),
        connection=_connection(connection, given),
    )


def resolve_server(url: str | None, connection: ConnectionOptions) -> tuple[str | None, ConnectionOptions]:
    """The part of `resolve` that tells which server is meant and how to reach it.

    Raises:
        InvalidOption: as for `resolve`.
    """
    given = _given(connection.profile)
    return url or given.url, _connection(connection, given)


def _given(argument: str | None) -> _Given:
    profile_name = argument or os.environ.get(f"{_PREFIX}PROFILE") or None
    profile: dict[str, Any] = read_profile(profile_name) if profile_name else {}
    if os.environ.get(f"{_PREFIX}TOKEN"):
        # Whoever sets a token for one run means it instead of the profile's.
        profile.pop("token_file", None)
    try:
        return _Given(**profile)
    except SettingsError as error:
        raise InvalidOption(f"environment: {error}") from error
    except ValidationError as error:
        raise InvalidOption("; ".join(_named(item, profile_name or "") for item in error.errors())) from error


def _named(item: Any, profile_name: str) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    variable = _PREFIX + name.upper()
    where = f"environment variable {variable}" if os.environ.get(variable) else f"profile {profile_name}, {name}"
    what = "there is no such setting" if item["type"] == "extra_forbidden" else item["msg"]
    return f"{where}: {what}"


def _connection(argument: ConnectionOptions, given: _Given) -> ConnectionOptions:
    """Settle each part; what belongs together, such as a certificate and its key, comes from one place."""
    token, token_file = argument.token, argument.token_file
    if token is None and token_file is None:
        token, token_file = given.token.get_secret_value() if given.token else None, given.token_file
    plaintext, trace = argument.allow_plaintext_token, argument.trace_context
    return ConnectionOptions(
        tls=_tls(argument.tls, given),
        token=token,
        token_file=token_file,
        token_header=argument.token_header or given.token_header or "authorization",
        headers={**(given.headers or {}), **(argument.headers or {})},
        allow_plaintext_token=given.allow_plaintext_token if plaintext is None else plaintext,
        trace_context=given.trace_context if trace is None else trace,
    )


def _tls(argument: TlsOptions | None, given: _Given) -> TlsOptions | None:
    files = given.ca_cert, given.client_cert, given.client_key, given.server_name
    if argument is None and (given.tls is False or (given.tls is None and not any(files))):
        return None
    wanted = argument or TlsOptions()
    own = wanted if wanted.client_cert is not None else given
    return TlsOptions(
        ca_cert=wanted.ca_cert or given.ca_cert,
        client_cert=own.client_cert,
        client_key=own.client_key,
        server_name=wanted.server_name or given.server_name,
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
