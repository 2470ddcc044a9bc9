"""Where settings come from: argument, environment, profile, default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tumorctl import ClientOptions, ConnectionOptions, InvalidOption, TlsOptions
from tumorctl.config import Settings, resolve
from tumorctl.profiles import profile_file

PROFILES = """
[profiles.hospital]
url = "grpcs://gateway.hospital.example:443"
ca_cert = "hospital-ca.pem"
client_cert = "/etc/pki/me.pem"
client_key = "~/me.key"
token_file = "token"
batch_size = 32
headers = { x-tenant = "radiology" }

[profiles.bench]
url = "127.0.0.1:8001"
gate_threshold = 0.5
trace_context = false
"""


def settle(
    url: str | None = None, options: ClientOptions | None = None, connection: ConnectionOptions | None = None
) -> Settings:
    return resolve(url, options or ClientOptions(), connection)


@pytest.fixture
def profiles() -> Path:
    path = profile_file()
    path.parent.mkdir(parents=True)
    path.write_text(PROFILES)
    return path


def test_without_a_profile_nothing_is_read(profiles: Path) -> None:
    profiles.write_text("not TOML [")
    settled = settle()
    assert (settled.url, settled.batch_size, settled.connection.tls, settled.connection.token_file) == (
        None,
        16,
        None,
        None,
    )
    assert settled.connection.token_header == "authorization"
    assert settled.connection.trace_context is True


def test_a_profile_by_argument_or_environment(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = settle(connection=ConnectionOptions(profile="hospital"))
    assert settled.url == "grpcs://gateway.hospital.example:443"
    assert settled.batch_size == 32
    assert settled.connection == ConnectionOptions(
        tls=TlsOptions(
            ca_cert=str(profiles.parent / "hospital-ca.pem"),
            client_cert="/etc/pki/me.pem",
            client_key=str(Path("~/me.key").expanduser()),
        ),
        token_file=str(profiles.parent / "token"),
        token_header="authorization",
        headers={"x-tenant": "radiology"},
        allow_plaintext_token=False,
        trace_context=True,
    )
    monkeypatch.setenv("TUMORCTL_PROFILE", "bench")
    assert settle().gate_threshold == 0.5
    assert settle().connection.tls is None
    assert settle().connection.trace_context is False
    assert settle(connection=ConnectionOptions(profile="hospital")).batch_size == 32


def test_argument_before_environment_before_profile(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORCTL_PROFILE", "hospital")
    monkeypatch.setenv("TUMORCTL_BATCH_SIZE", "8")
    monkeypatch.setenv("TUMORCTL_URL", "grpcs://there:1")
    monkeypatch.setenv("TUMORCTL_CA_CERT", "/env/ca.pem")
    settled = settle()
    assert (settled.url, settled.batch_size) == ("grpcs://there:1", 8)
    assert settled.connection.tls is not None
    assert settled.connection.tls.ca_cert == "/env/ca.pem"
    assert settled.connection.tls.client_cert == "/etc/pki/me.pem"
    settled = settle(
        "grpcs://here:1",
        ClientOptions(batch_size=4),
        ConnectionOptions(tls=TlsOptions(ca_cert="mine.pem", client_cert="a.pem", client_key="a.key")),
    )
    assert (settled.url, settled.batch_size) == ("grpcs://here:1", 4)
    assert settled.connection.tls == TlsOptions("mine.pem", "a.pem", "a.key")


def test_a_token_of_one_place_replaces_that_of_the_next(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORCTL_PROFILE", "hospital")
    monkeypatch.setenv("TUMORCTL_TOKEN", "from-the-environment")
    connection = settle().connection
    assert (connection.token, connection.token_file) == ("from-the-environment", None)
    connection = settle(connection=ConnectionOptions(token_file="mine")).connection
    assert (connection.token, connection.token_file) == (None, "mine")
    monkeypatch.setenv("TUMORCTL_TOKEN_FILE", "both")
    with pytest.raises(InvalidOption, match="give one of them"):
        settle()


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"TLS": "true"}, True),
        ({"TLS": "false", "CA_CERT": "ca.pem"}, False),
        ({"CA_CERT": "ca.pem"}, True),
        ({"SERVER_NAME": "triton.example"}, True),
        ({"CLIENT_CERT": "a.pem", "CLIENT_KEY": "a.key"}, True),
    ],
)
def test_when_there_is_tls(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], on: bool) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"TUMORCTL_{name}", value)
    assert (settle().connection.tls is not None) is on


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[profiles.p]\nbatch_sizes = 3", "profile p, batch_sizes: there is no such setting"),
        ("[profiles.p]\nbatch_size = 'many'", "profile p, batch_size: Input should be a valid integer"),
        ("[profiles.p]\ntoken = 'sesame'", "holds a token: put it into a file of its own"),
        ("[profiles.p]\nclient_cert = 'a.pem'", "belong together"),
        ("[profiles.p]\nheaders = { X = 'a' }", "cannot be the name of a header"),
        ("[profiles.other]\n", "has no profile p; it has: other"),
        ("profiles = 3", "has no profile p; it has: none"),
        ("[profiles]\np = 3", "has no profile p"),
        ("[profiles", "is not a TOML file"),
        ("\udcff", "is not a TOML file"),
    ],
)
def test_what_is_wrong_with_a_profile(profiles: Path, content: str, message: str) -> None:
    profiles.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidOption) as caught:
        settle(connection=ConnectionOptions(profile="p"))
    assert message in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_no_profile_file() -> None:
    with pytest.raises(InvalidOption, match=r"config\.toml cannot be read"):
        settle(connection=ConnectionOptions(profile="hospital"))


@pytest.mark.parametrize(
    ("name", "value"), [("TLS", "perhaps"), ("HEADERS", "x-tenant: a"), ("HEADERS", "[1]"), ("TRACE_CONTEXT", "7")]
)
def test_a_variable_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TUMORCTL_{name}", value)
    with pytest.raises(InvalidOption, match=name if name != "HEADERS" else "(?i)headers"):
        settle()
