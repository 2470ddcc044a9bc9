"""Profiles: named groups of settings in ``~/.config/tumorctl/config.toml``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tumorctl.errors import InvalidOption

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FILES = ("ca_cert", "client_cert", "client_key", "token_file", "model_repository")


def profile_file() -> Path:
    """Where profiles are kept: ``XDG_CONFIG_HOME/tumorctl/config.toml``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tumorctl" / "config.toml"


def read_profile(name: str) -> dict[str, Any]:
    """The settings of ``[profiles.NAME]``; files in it are relative to the folder of the profile file.

    Raises:
        InvalidOption: the file cannot be read, has no such profile, or the profile holds a token.
    """
    path = profile_file()
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidOption(f"profile {name}: {path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidOption(f"{path} is not a TOML file: {error}") from error
    profiles = content.get("profiles")
    profile = profiles.get(name) if isinstance(profiles, dict) else None
    if not isinstance(profile, dict):
        names = ", ".join(sorted(profiles)) if isinstance(profiles, dict) and profiles else "none"
        raise InvalidOption(f"{path} has no profile {name}; it has: {names}")
    if "token" in profile:
        raise InvalidOption(f"profile {name} holds a token: put it into a file of its own and name that as token_file")
    # Joining leaves absolute paths as they are.
    files = {key: str(path.parent / Path(profile[key]).expanduser()) for key in _FILES if _is_text(profile.get(key))}
    return {**profile, **files}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
