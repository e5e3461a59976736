"""Build the fake driver for the PyTorch of this environment.

    python tests/fake_cuda/build.py FOLDER

It needs gcc and nm. Functions that PyTorch imports from CUDA's libraries and that no file here defines are generated, and
return 0. A new version of PyTorch needs a change here only where it looks at the result of a function that it did not call yet.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNTIME, DRIVER, NVML = "fakecuda.so", "libcuda.so.1", "libnvidia-ml.so.1"
_OF_RUNTIME = re.compile(r"(__cuda|cuda|cublas|cudnn|cufft|curand|cusolver|cusparse|nvrtc|cuFile)[A-Za-z]")
_OF_DRIVER = re.compile(r"cu(?!File)[A-Z]")


def build(folder: Path) -> None:
    """Write fakecuda.so (to be preloaded), libcuda.so.1 and libnvidia-ml.so.1 into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        raise ModuleNotFoundError("PyTorch is not installed")
    site = Path(torch.origin).parents[1]
    headers = [f"-I{path}" for path in (HERE / "include", *site.glob("nvidia/*/include"))]
    imported = {name for library in (site / "torch/lib").glob("lib*.so") for name in symbols(library, undefined=True)}
    for target, sources, pattern in (
        (RUNTIME, ("runtime", "libraries"), _OF_RUNTIME),
        (DRIVER, ("driver",), _OF_DRIVER),
    ):
        objects = [_compiled(HERE / f"{name}.c", folder, headers) for name in sources]
        defined = {name for file in objects for name in symbols(file)}
        missing = sorted(name for name in imported - defined if pattern.match(name))
        stubs = folder / "stubs.c"
        stubs.write_text("".join(f"int {name}() {{ return 0; }}\n" for name in missing))
        _link(folder / target, [_compiled(stubs, folder, []), *objects])
        stubs.unlink()
    _link(folder / NVML, [_compiled(HERE / "nvml.c", folder, headers)])


def symbols(file: Path, *, undefined: bool = False) -> set[str]:
    """Names that an object file or a library defines, or imports."""
    options = ["-D", "--undefined-only"] if undefined else ["--defined-only", "--extern-only"]
    lines = subprocess.run(["nm", *options, str(file)], check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines if line}


def _compiled(source: Path, folder: Path, options: list[str]) -> Path:
    target = folder / f"{source.stem}.o"
    _run("-c", "-O1", "-fPIC", "-w", *options, str(source), "-o", str(target))
    return target


def _link(target: Path, objects: list[Path]) -> None:
    _run("-shared", f"-Wl,-soname,{target.name}", *map(str, objects), "-o", str(target), "-lpthread", "-ldl")
    for file in objects:
        file.unlink()


def _run(*arguments: str) -> None:
    subprocess.run(["gcc", *arguments], check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
