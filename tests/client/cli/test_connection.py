"""TLS, tokens and profiles from the command line, against the real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tumorctl import TlsOptions
from tumorctl.profiles import profile_file
from tumorctl.serving.triton import ServeOptions, TritonServer

SAMPLES = Path(__file__).parents[3] / "samples"
TUMORCTL = Path(sys.executable).with_name("tumorctl")

Certificates = Any
Fakes = Callable[..., Any]


def tumorctl(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TUMORCTL, *map(str, arguments)], capture_output=True, text=True, timeout=100, env={**os.environ, **variables}
    )


def doctor(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # Without networks there is no local engine to compile, which these tests do not look at.
    return tumorctl("doctor", "--json", *arguments, TUMORCTL_MODEL_REPOSITORY="/nowhere", **variables)


def flags(tls: TlsOptions) -> list[str]:
    assert tls.ca_cert is not None
    assert tls.client_cert is not None
    assert tls.client_key is not None
    files = {"--ca-cert": tls.ca_cert, "--client-cert": tls.client_cert, "--client-key": tls.client_key}
    return [word for flag, path in files.items() for word in (flag, os.fspath(path))]


def server_findings(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[bool, str]]:
    findings = {each["check"]: (each["ok"], each["detail"]) for each in json.loads(done.stdout)}
    return {check: found for check, found in findings.items() if check.startswith(("server", "certificate"))}


def test_predict_by_flags(mutual_triton: TritonServer, our_tls: TlsOptions, tmp_path: Path) -> None:
    done = tumorctl("predict", SAMPLES, "-o", tmp_path / "out", "--url", mutual_triton.grpc_url, *flags(our_tls))
    assert (done.returncode, done.stderr) == (0, "")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["engine"]["target"] == mutual_triton.grpc_url


def test_predict_by_profile(mutual_triton: TritonServer, our_tls: TlsOptions, tmp_path: Path) -> None:
    profile_file().parent.mkdir(parents=True)
    profile_file().write_text(
        f'[profiles.hospital]\nurl = "grpcs://{mutual_triton.grpc_url}"\nca_cert = "{our_tls.ca_cert}"\n'
        f'client_cert = "{our_tls.client_cert}"\nclient_key = "{our_tls.client_key}"\n'
    )
    done = tumorctl("predict", SAMPLES, "-o", tmp_path / "out", TUMORCTL_PROFILE="hospital")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--url", "grpcs://{url}"], 4, "error: the certificate of {url} is from an authority that is not trusted"),
        (["--url", "{url}"], 4, "error: {url} speaks TLS: use grpcs://{url} or --tls"),
        (["--url", "{url}", "--ca-cert", "no.pem"], 2, "no.pem cannot be read"),
        (["--url", "far.example:1", "--token-file", "{token}"], 2, "error: without TLS the token could be read"),
        (["--profile", "nowhere"], 2, "error: profile nowhere:"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(
    mutual_triton: TritonServer,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    token = tmp_path / "token"
    token.write_text("sesame")
    words = {"url": mutual_triton.grpc_url, "token": token}
    done = tumorctl("predict", SAMPLES, "-o", tmp_path / "out", *(each.format(**words) for each in arguments))
    assert done.returncode == status
    assert message.format(**words) in done.stderr
    assert done.stderr.count("\n") == 1
    assert "sesame" not in done.stderr


def test_doctor_looks_at_certificate_and_token(
    mutual_triton: TritonServer, our_tls: TlsOptions, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("sesame")
    shown = "--token-file", token, "--token-header", "X-Key"
    done = doctor("--url", mutual_triton.grpc_url, *flags(our_tls), *shown)
    assert (done.returncode, done.stderr) == (0, "")
    found = server_findings(done)
    ok, detail = found["certificate"]
    assert ok
    assert detail.startswith("triton, issued by ")
    assert detail.endswith("90 days left (TLSv1.3)")
    ok, detail = found["server"]
    assert ok
    assert detail.endswith(f"; with TLS, own certificate, token from {token} as x-key")
    assert "sesame" not in done.stdout


def test_doctor_says_what_is_wrong_with_the_certificate(mutual_triton: TritonServer, strangers: Certificates) -> None:
    done = doctor("--url", mutual_triton.grpc_url, "--ca-cert", strangers.ca)
    assert done.returncode == 4
    found = server_findings(done)
    assert found["certificate"] == (False, "not seen: the certificate is from an authority that is not trusted")
    assert found["server"][1].startswith("the certificate of 127.0.0.1:")


def test_doctor_warns_of_a_certificate_about_to_expire(fakes: Fakes, certificates: Certificates) -> None:
    _, url = fakes(certificates.server("127.0.0.1", days=12))
    done = doctor("--url", url, "--ca-cert", certificates.ca, TUMORCTL_TOKEN="sesame")
    assert done.returncode == 0
    found = server_findings(done)
    assert "12 days left: have it renewed" in found["certificate"][1]
    assert found["server"][1].endswith("; with TLS, no certificate of its own, token as authorization")
    assert "sesame" not in done.stdout + done.stderr


def test_doctor_looks_at_each_of_several_servers(fakes: Fakes) -> None:
    _, url = fakes()
    done = doctor("--url", f"{url},127.0.0.1:9")
    assert done.returncode == 0
    found = server_findings(done)
    assert {check: ok for check, (ok, _) in found.items()} == {f"server {url}": True, "server 127.0.0.1:9": False}


def test_serve_with_mutual_tls(
    certificates: Certificates,
    our_tls: TlsOptions,
    options_for: Callable[..., ServeOptions],
    mutual_triton: TritonServer,
    fast_repository: Path,
    tmp_path: Path,
) -> None:
    options = options_for(tmp_path)
    certificate, key = certificates.issue("served", "127.0.0.1")
    ports = ["--grpc-port", options.grpc_port, "--http-port", options.http_port, "--metrics-port", options.metrics_port]
    tls = ["--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", certificates.ca]
    rest = ["--model-repository", fast_repository, "--log-file", options.log_file]
    process = subprocess.Popen([TUMORCTL, "serve", *map(str, [*ports, *tls, *rest])], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        assert said[1].startswith(f"ready: gRPC 127.0.0.1:{options.grpc_port} (TLS), HTTP"), "".join(said)
        done = doctor("--url", f"grpcs://127.0.0.1:{options.grpc_port}", *flags(our_tls))
        assert server_findings(done)["server"][0], done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_serve_wants_certificate_and_key(tmp_path: Path) -> None:
    for arguments in (["--tls-cert", "a.pem"], ["--tls-client-ca", "a.pem"]):
        done = tumorctl("serve", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "belong together" in done.stderr
