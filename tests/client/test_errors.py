from __future__ import annotations

import tumorctl.errors
from tumorctl.cli.exits import Status
from tumorctl.errors import MissingExtra, ServerUnavailable, TumorctlError


def error_types() -> list[type[TumorctlError]]:
    found = [value for value in vars(tumorctl.errors).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, TumorctlError)]


def test_every_error_ends_with_a_status_of_the_contract() -> None:
    statuses = {kind.__name__: kind.exit_code for kind in error_types()}
    assert set(statuses.values()) <= {Status.failed, Status.usage, Status.server}
    assert {name for name, code in statuses.items() if code == Status.server} == {
        "AccessDenied",
        "DeadlineExceeded",
        "EngineError",
        "InsecureServer",
        "ServerError",
        "ServerRefused",
        "ServerUnavailable",
    }


def test_only_an_unavailable_server_is_worth_another_try() -> None:
    assert [kind for kind in error_types() if kind.retryable] == [ServerUnavailable]


def test_a_missing_extra_names_the_pip_command() -> None:
    assert "pip install 'tumorctl[local]'" in str(MissingExtra("local", "the local engine"))
