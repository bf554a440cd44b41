"""Builds the hollow device (README.md) and starts Python on it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NEED = ("libc10_cuda", "libtorch_cuda", "libtorch_cpu", "libtorch_python", "libcaffe2_nvrtc")
STANDS_IN = r"cuda[A-Z]\w*|cu[A-Z]\w*|cublas\w*|nccl[A-Z]\w*|__cuda[A-Za-z_]*"
# driver_types.h includes a header that the wheels lack; these are all its words that matter to a C compiler.
HOST_DEFINES = """#define __device_builtin__
#define __cudart_builtin__
#define CUDARTAPI
#define __host__
#define __device__
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __align__(n)
#define __location__(a)
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
"""


def build() -> Path:
    """The shared library, built once for this torch and this source; skips the test where it cannot be."""
    for tool in ("gcc", "nm"):
        if shutil.which(tool) is None:
            pytest.skip(f"the hollow CUDA device is built with {tool}, which is not installed")
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    torch = Path(spec.origin).parent
    libraries = [torch / "lib" / f"{name}.so" for name in NEED]
    if not all(library.exists() for library in libraries):
        pytest.skip("this torch is a build without CUDA, of which the hollow device has nothing to run")
    headers = next(iter(sorted(torch.parent.glob("nvidia/cu*/include/driver_types.h"))), None)
    if headers is None:
        pytest.skip("NVIDIA's wheels beside torch carry no driver_types.h")
    source = (HERE / "hollow.c").read_text()
    key = f"{importlib.metadata.version('torch')}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()) / f"hollow-cuda-{os.getuid()}" / key
    if (folder / "libcuda.so.1").exists():
        return folder / "libcuda.so.1"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        (work / "crt").mkdir()
        (work / "crt" / "host_defines.h").write_text(HOST_DEFINES)
        listed = [
            subprocess.run(["nm", "-D", "--undefined-only", x], capture_output=True, text=True, check=True).stdout
            for x in libraries
        ]
        wanted = set(re.findall(rf" U ({STANDS_IN})(?:@.*)?$", "\n".join(listed), re.M))
        missing = sorted(n for n in wanted - set(re.findall(r"\b(\w+)\(", source)) if not n.startswith("cuFile"))
        (work / "rest.h").write_text("".join(f"E int {name}() {{ return 0; }}\n" for name in missing))
        flags = ["-w", "-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", f"-I{work}", f"-I{headers.parent}"]
        out = work / "libcuda.so.1"
        subprocess.run(["gcc", *flags, "-o", out, HERE / "hollow.c", "-ldl", "-lpthread"], check=True)
        folder.mkdir(exist_ok=True)
        os.replace(out, folder / "libcuda.so.1")
    return folder / "libcuda.so.1"


def environment(**settings: object) -> dict[str, str]:
    """The environment of a process on the hollow device."""
    return {
        **{k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"},
        "LD_PRELOAD": str(build()),
        "PYTHONPATH": os.pathsep.join((str(HERE / "site"), str(ROOT))),
        "OMP_NUM_THREADS": "1",
        **{name: str(value) for name, value in settings.items()},
    }


def python(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run Python on the hollow device."""
    return subprocess.run(
        [sys.executable, *arguments], env=environment(**settings), cwd=ROOT, capture_output=True, text=True
    )
