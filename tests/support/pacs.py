"""A real PACS (Orthanc) in a network of its own, which takes files and gives them back.

Run as a program inside a fresh network namespace: Orthanc listens on all addresses whatever it is told, and here nobody
but this process can reach it. Usage: ``pacs.py FOLDER``, where FOLDER holds ``in/*.dcm``; writes, per file, what came
back to FOLDER/out, and what was answered as JSON to standard output.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HTTP = "http://127.0.0.1:18042"
DICOM_PORT = 14242
TITLE = "TESTPACS"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
_READY_S = 30.0
_CALL_S = 60.0
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1


def in_namespace(folder: Path) -> dict[str, Any]:
    """Send FOLDER/in through the PACS in a new network namespace; returns what was answered."""
    # Only root may make a network namespace alone; others make a user namespace around it, where the system lets them.
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    ran = subprocess.run(
        [*unshare, sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def namespaces_work() -> bool:
    """Whether this user may make network namespaces here."""
    if shutil.which("unshare") is None:
        return False
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    return subprocess.run([*unshare, "true"], capture_output=True, timeout=30, check=False).returncode == 0


def main(folder: Path) -> None:
    _loopback_up()
    (folder / "out").mkdir(exist_ok=True)
    answers: dict[str, Any] = {}
    with _orthanc(folder / "stow"):
        for file in sorted((folder / "in").glob("*.dcm")):
            answers[f"stow {file.stem}"] = _stow(file.read_bytes())
        answers["stow again"] = _stow(next(iter(sorted((folder / "in").glob("*.dcm")))).read_bytes())
        answers["stow kept"] = _keep(folder / "out", "stow")
    with _orthanc(folder / "cstore"):
        sent = subprocess.run(
            [
                "dcmsend",
                "--verbose",
                "-aec",
                TITLE,
                "127.0.0.1",
                str(DICOM_PORT),
                *sorted((folder / "in").glob("*.dcm")),
            ],
            capture_output=True,
            text=True,
            timeout=_CALL_S,
            check=False,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        answers["cstore"] = {"status": sent.returncode, "log": sent.stdout + sent.stderr}
        answers["cstore kept"] = _keep(folder / "out", "cstore")
    json.dump(answers, sys.stdout)


def _keep(folder: Path, prefix: str) -> int:
    """Fetch all instances, by Orthanc's own interface and by WADO-RS; returns their number."""
    instances = json.loads(_get("/instances"))
    for instance in instances:
        tags = json.loads(_get(f"/instances/{instance}/simplified-tags"))
        name = f"{prefix}-{tags['SOPInstanceUID']}"
        (folder / f"{name}-file.dcm").write_bytes(_get(f"/instances/{instance}/file"))
        path = "/".join(
            f"{level}/{tags[keyword]}"
            for level, keyword in (
                ("studies", "StudyInstanceUID"),
                ("series", "SeriesInstanceUID"),
                ("instances", "SOPInstanceUID"),
            )
        )
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        (folder / f"{name}-wado.dcm").write_bytes(_part(_get(f"/dicom-web/{path}", Accept=accept)))
    return len(instances)


def _stow(content: bytes) -> dict[str, Any]:
    boundary = uuid.uuid4().hex
    body = (
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    request = urllib.request.Request(
        f"{HTTP}/dicom-web/studies",
        data=body,
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
    )
    with urllib.request.urlopen(request, timeout=_CALL_S) as response:
        answer = json.load(response)
    return {"status": response.status, "stored": len(answer.get("00081199", {}).get("Value", [])), "answer": answer}


def _part(body: bytes) -> bytes:
    """The only part of a multipart body."""
    boundary = body.split(b"\r\n", 1)[0]
    return body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n" + boundary, 1)[0]


def _get(path: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(HTTP + path, headers=headers), timeout=_CALL_S) as response:
        return bytes(response.read())


@contextmanager
def _orthanc(storage: Path) -> Iterator[None]:
    storage.mkdir()
    settings = {
        "Name": "test",
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "Plugins": [PLUGIN],
        "HttpPort": 18042,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": TITLE,
        "DicomPort": DICOM_PORT,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "127.0.0.1:18042"},
    }
    (storage / "orthanc.json").write_text(json.dumps(settings))
    log = (storage / "log").open("w")
    server = subprocess.Popen(
        [shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin") or "Orthanc", storage / "orthanc.json"],
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                _get("/system")
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait(30)
        log.close()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
