"""Starting, watching and stopping the Triton server of the ``nvidia-pytriton`` wheel."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import http
import http.client
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from tumorctl.errors import InvalidOption, MissingExtra, PortTaken, ServeError
from tumorctl.manifest import read_manifest
from tumorctl.types import Precision

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
CONFIGURATION = "embedded"
_ADMIN_APIS = "shared-memory,model-repository,logging,trace"
_PREDICTION_APIS = ",inference,metadata,model-config"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux keeps it)
_PR_SET_PDEATHSIG = 1
_LOG_LINES_SHOWN = 8
_ABORTED = (-signal.SIGABRT, 128 + signal.SIGABRT)
_ERROR_LINE = re.compile(r"E\d{4} (?!.*CudaDriverHelper)")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of the server's gRPC endpoint; files are PEM.

    Attributes:
        cert: the server's certificate with its chain.
        key: its private key.
        client_ca: authorities of the clients' certificates; without it clients need none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How the server runs.

    Attributes:
        repository: model repository; its networks are checked against their digests first.
        log_file: what the server prints.
        host: address to listen on; the default is reachable from this machine alone.
        grpc_port: for clients.
        http_port: for KServe over HTTP and health checks.
        metrics_port: for Prometheus.
        precision: arithmetic of the networks.
        tls: encrypts gRPC; HTTP, which Triton cannot encrypt, then answers health checks alone. None for no TLS.
        ready_timeout_s: seconds until a server that is not ready is given up.
        stop_timeout_s: seconds that requests in flight get when the server stops.
    """

    repository: Path
    log_file: Path
    host: str = LOOPBACK
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    precision: Precision = Precision.auto
    tls: ServerTls | None = None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0


class _Aborted(ServeError):
    """The server aborted before it was ready."""


class TritonServer:
    """A real Triton with the model repository, as a child process; a context manager that waits until it is ready.

    The administrative APIs (model control, shared memory, logging, trace) are locked with a random key that is not
    kept, and model control is off. If this process dies, the server ends too.

    Args:
        options: how the server runs.

    Raises:
        MissingExtra: the wheel with the server is not installed.
        ServeError: this platform, Python or numpy cannot run it.
        PortTaken: another process listens on one of the ports.
        DamagedModel: a network differs from its digest.
        InvalidOption: a file named for TLS cannot be read.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self._distribution = find_distribution()
        check_numpy()
        read_manifest(options.repository).verify()
        _check_readable(options.tls)
        self._prefix = f"tumorctl-{secrets.token_hex(4)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._backends: Path | None = None

    @property
    def grpc_url(self) -> str:
        """Where clients reach it."""
        return f"{self.options.host}:{self.options.grpc_port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until all models are ready.

        Triton's Python backend aborts once in a long while for no fault of its surroundings
        (triton-inference-server/server#8882); a server that does so while it starts is started once more.

        Raises:
            PortTaken: another process listens on one of the ports.
            ServeError: it ended by itself or was not ready in time; the message quotes its log.
        """
        options = self.options
        for port in (options.grpc_port, options.http_port, options.metrics_port):
            check_port(options.host, port)
        try:
            self._launch("wb")
        except _Aborted:
            logger.warning("the server aborted while it started, see %s; starting it again", options.log_file)
            self._launch("ab")

    def _launch(self, log_mode: Literal["wb", "ab"]) -> None:
        options = self.options
        try:
            options.log_file.parent.mkdir(parents=True, exist_ok=True)
            log = options.log_file.open(log_mode)
        except OSError as error:
            raise ServeError(f"the log {options.log_file} cannot be written ({error.strerror})") from error
        try:
            with log:
                self._backends = self._assemble_backends()
                self._process = subprocess.Popen(
                    self._command(self._backends),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(),
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            ServeError: it ended by itself.
        """
        assert self._process is not None  # started
        status = self._process.wait()
        raise ServeError(f"the server ended by itself with status {status}{self._log_end()}")

    def stop(self) -> None:
        """Stop the server and everything it started; requests in flight are finished first. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.options.stop_timeout_s + 5)
            # The server leads a session of its own, so its group holds its model processes and nothing else.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for left in _SHARED_MEMORY.glob(f"{self._prefix}*"):
                left.unlink(missing_ok=True)
        if self._backends is not None:
            shutil.rmtree(self._backends, ignore_errors=True)
            self._backends = None

    def _command(self, backends: Path) -> list[str]:
        options = self.options
        key = secrets.token_hex(16)
        flags: dict[str, object] = {
            "model-repository": options.repository,
            "model-config-name": CONFIGURATION,
            "backend-directory": backends,
            "backend-config": f"python,shm-region-prefix-name={self._prefix}",
            "model-control-mode": "none",
            "strict-readiness": "true",
            "exit-on-error": "true",
            "exit-timeout-secs": int(options.stop_timeout_s),
            "http-address": options.host,
            "http-port": options.http_port,
            "grpc-address": options.host,
            "grpc-port": options.grpc_port,
            "metrics-address": options.host,
            "metrics-port": options.metrics_port,
            "allow-gpu-metrics": "false",
            "grpc-restricted-protocol": f"{_ADMIN_APIS}:admin-key={key}",
            "http-restricted-api": f"{_ADMIN_APIS}{_PREDICTION_APIS if options.tls else ''}:admin-key={key}",
            **_tls_flags(options.tls),
        }
        binary = self._distribution / "tritonserver" / "bin" / "tritonserver"
        return [str(binary), "--disable-auto-complete-config", *(f"--{name}={value}" for name, value in flags.items())]

    def _environment(self) -> dict[str, str]:
        libraries = [str(self._distribution.parent / "nvidia_pytriton.libs"), str(libpython_folder())]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TUMORCTL_")}
        return {
            **inherited,
            "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep),
            # The backend's processes run Python isolated from PYTHONPATH; they find this environment as a shell would.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TUMORCTL_PRECISION": self.options.precision.value,
        }

    def _assemble_backends(self) -> Path:
        """The Python backend with the stub of this Python beside it, as the server wants it."""
        server = self._distribution / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.is_file():
            raise ServeError(f"the server has no Python backend for Python {version}: use Python 3.10 to 3.12")
        folder = Path(tempfile.mkdtemp(prefix="tumorctl-backends-"))
        shutil.copytree(server / "backends" / "python", folder / "python")
        shutil.copy2(stub, folder / "python")
        return folder

    def _wait_until_ready(self) -> None:
        assert self._process is not None  # just started
        deadline = time.monotonic() + self.options.ready_timeout_s
        while time.monotonic() < deadline:
            if (status := self._process.poll()) is not None:
                kind = _Aborted if status in _ABORTED else ServeError
                raise kind(f"the server ended with status {status}{self._log_end()}")
            if is_ready(self.options.host, self.options.http_port):
                return
            time.sleep(0.05)
        raise ServeError(f"the server was not ready after {self.options.ready_timeout_s:g} s{self._log_end()}")

    def _log_end(self) -> str:
        try:
            lines = self.options.log_file.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        errors = [line for line in lines if _ERROR_LINE.match(line)]
        return f"; from its log, {self.options.log_file}:\n" + "\n".join(
            errors[:_LOG_LINES_SHOWN] or lines[-_LOG_LINES_SHOWN:]
        )


def _check_readable(tls: ServerTls | None) -> None:
    files = filter(None, (tls.cert, tls.key, tls.client_ca)) if tls else ()
    if unreadable := [path for path in files if not os.access(path, os.R_OK) or path.is_dir()]:
        raise InvalidOption(f"{unreadable[0]} cannot be read: name the server's certificate, key and authorities")


def _tls_flags(tls: ServerTls | None) -> dict[str, object]:
    if tls is None:
        return {}
    flags: dict[str, object] = {"grpc-use-ssl": "true", "grpc-server-cert": tls.cert, "grpc-server-key": tls.key}
    if tls.client_ca is not None:
        flags |= {"grpc-use-ssl-mutual": "true", "grpc-root-cert": tls.client_ca}
    return flags


def find_distribution() -> Path:
    """The folder of the installed package that holds the server.

    Raises:
        ServeError: there is none for this platform.
        MissingExtra: it is not installed.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise ServeError(
            f"there is no Triton wheel for {platform.system()} on {platform.machine()}: use Linux on x86-64 or arm64, "
            "or the Triton container image with the model repository"
        )
    if sys.version_info >= (3, 13):
        raise ServeError("the Triton wheel needs numpy < 2, and so Python 3.10 to 3.12; this is a newer Python")
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise MissingExtra("serve", "the embedded server")
    return Path(found.origin).parent


def check_numpy() -> None:
    """Refuse numpy 2, with which the Python backend of this Triton hands models empty tensors, silently.

    Raises:
        ServeError: numpy 2 is installed.
    """
    version = importlib.metadata.version("numpy")
    if int(version.split(".")[0]) >= 2:
        raise ServeError(
            f"numpy {version} is installed, and this Triton's Python backend needs numpy < 2: give the server an "
            "environment of its own with pip install 'tumorctl[serve]'"
        )


def libpython_folder() -> Path:
    """The folder of this Python's shared library, which the backend's processes load.

    Raises:
        ServeError: this Python was built without one.
    """
    library = str(sysconfig.get_config_var("INSTSONAME") or "")
    configured = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL")
    for folder in [*filter(None, configured), *(str(Path(sys.base_prefix) / name) for name in ("lib", "lib64"))]:
        if ".so" in library and (Path(folder) / library).is_file():
            return Path(folder)
    multiarch = Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH") or "")
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    if (multiarch / name).is_file():
        return multiarch
    raise ServeError(f"the server needs {name}, which this Python was built without: install your system's libpython")


def check_port(host: str, port: int) -> None:
    """See whether the server could listen on a port.

    Raises:
        PortTaken: another process does.
        ServeError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(f"port {port} on {host} is taken by another process: choose another port") from error
            raise ServeError(f"cannot listen on {host}:{port} ({error.strerror})") from error


def is_ready(host: str, http_port: int, timeout_s: float = 1.0) -> bool:
    """Whether a Triton server there has all its models ready."""
    connection = http.client.HTTPConnection(host, http_port, timeout=timeout_s)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_with_parent() -> None:
    """In the child, before the server: have the kernel end it when this process dies without stopping it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
