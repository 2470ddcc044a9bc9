"""Makes type stubs of a TensorRT version, without TensorRT, a GPU or a compiler.

    python tests/export/engines/stubs.py FOLDER VERSION

TensorRT's Python bindings are a package of their own, which can be had without its libraries. They are told to do
without: each library that they need becomes one that is always there, and each function that they want of it one that
may be absent. So they can be imported and their signatures read, and nothing can be built or run.
"""

from __future__ import annotations

import ast
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "tensorrt-cu13-bindings"
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
ALWAYS_THERE = b"libm.so.6"
# Of the ELF format: the table of symbols for dynamic linking, and a symbol's binding.
_SHT_DYNSYM = 11
_GLOBAL, _WEAK = 1, 2
_DEFINED_NOWHERE = 0


def make_stubs(folder: Path, version: str) -> None:
    """Write ``tensorrt/*.pyi`` into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, f"{PACKAGE}=={version}")
        (wheel,) = work.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(work / "site")
        package = (work / "site" / "tensorrt_bindings").rename(work / "site" / "tensorrt")
        for extension in package.glob("tensorrt*.so"):
            extension.write_bytes(without_libraries(extension.read_bytes(), version.split(".")[0]))
        program = f"import sys; sys.path.insert(0, {str(work / 'site')!r}); from pybind11_stubgen import main; main()"
        run(sys.executable, "-c", program, "tensorrt", "--output-dir", folder, "--ignore-all-errors")
    for stub in folder.rglob("*.pyi"):
        stub.write_text(valid_python(stub.read_text("utf-8")), "utf-8")


def without_libraries(extension: bytes, major: str) -> bytes:
    """An extension module that no longer needs TensorRT's libraries in order to be loaded."""
    content = bytearray(extension)
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}".encode() + b"\0"
        place = content.index(name)
        content[place : place + len(name)] = ALWAYS_THERE.ljust(len(name), b"\0")
    assert content[:6] == b"\x7fELF\x02\x01", "not a 64 bit little endian ELF file"
    (sections,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    for header in range(sections, sections + size * count, size):
        (kind,) = struct.unpack_from("<I", content, header + 4)
        if kind == _SHT_DYNSYM:
            start, length = struct.unpack_from("<QQ", content, header + 0x18)
            (entry,) = struct.unpack_from("<Q", content, header + 0x38)
            for symbol in range(start, start + length, entry):
                information, _, section = struct.unpack_from("<BBH", content, symbol + 4)
                if information >> 4 == _GLOBAL and section == _DEFINED_NOWHERE:
                    content[symbol + 4] = _WEAK << 4 | information & 0xF
    return bytes(content)


def valid_python(stub: str) -> str:
    """A stub whose few signatures that are no Python take anything; its own faults are not looked for."""
    lines = stub.splitlines()
    while (number := first_fault("\n".join(lines))) is not None:
        anything = r"def \1(*args: typing.Any, **kwargs: typing.Any)"
        loose = re.sub(r"def (\w+)\(.*\)(?= ->|:)", anything, lines[number])
        assert loose != lines[number], f"no signature: {lines[number]}"
        lines[number] = loose
    return "\n".join(["# mypy: ignore-errors", *lines, ""])


def first_fault(program: str) -> int | None:
    """Index of the first line that is no Python."""
    try:
        ast.parse(program)
    except SyntaxError as error:
        return (error.lineno or 1) - 1
    return None


def run(*command: str | Path) -> None:
    """Run a command; what it prints is shown only where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} {command[1]} failed:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    make_stubs(Path(sys.argv[1]), sys.argv[2])
