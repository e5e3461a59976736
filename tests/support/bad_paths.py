"""Paths that cannot be used, one of each kind, and the places of the command line that take a path."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def missing(folder: Path) -> str:
    return str(folder / "missing.toml")


def below_a_file(folder: Path) -> str:
    (folder / "file").write_text("no folder")
    return str(folder / "file" / "x.toml")


def a_folder(folder: Path) -> str:
    (folder / "folder.toml").mkdir()
    return str(folder / "folder.toml")


def long_part(folder: Path) -> str:
    return str(folder / ("x" * 300)) + ".toml"


def long_path(folder: Path) -> str:
    return str(folder.joinpath(*["d" * 200] * 30, "x.toml"))


def symlink_loop(folder: Path) -> str:
    (folder / "loop.toml").symlink_to("loop.toml")
    return str(folder / "loop.toml")


def dangling_link(folder: Path) -> str:
    (folder / "dangling.toml").symlink_to("nowhere")
    return str(folder / "dangling.toml")


def in_a_forbidden_folder(folder: Path) -> str:
    (folder / "secret").mkdir(mode=0o000)
    return str(folder / "secret" / "x.toml")


def unreadable(folder: Path) -> str:
    (folder / "unreadable.toml").touch(mode=0o000)
    return str(folder / "unreadable.toml")


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.toml")
    return str(folder / "pipe.toml")


def unix_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / "socket.toml"))  # an address has at most 107 bytes
    return str(folder / "socket.toml")


def endless_device(folder: Path) -> str:
    return "/dev/zero"


def failing_disk(folder: Path) -> str:
    """Reading it raises EIO, as on a broken disk."""
    return "/proc/self/mem"


def empty_file(folder: Path) -> str:
    (folder / "empty.toml").touch()
    return str(folder / "empty.toml")


def null_byte(folder: Path) -> str:
    return str(folder / "a\0b.toml")


def undecodable(folder: Path) -> str:
    return str(folder / "caf\udce9.toml")


def with_a_newline(folder: Path) -> str:
    return str(folder / "a\nb.toml")


KINDS: tuple[Callable[[Path], str], ...] = (
    missing,
    below_a_file,
    a_folder,
    long_part,
    long_path,
    symlink_loop,
    dangling_link,
    in_a_forbidden_folder,
    unreadable,
    pipe,
    unix_socket,
    endless_device,
    failing_disk,
    empty_file,
    null_byte,
    undecodable,
    with_a_newline,
)

NEW = {"missing", "undecodable", "with_a_newline"}
"""Kinds that are good paths of something new."""


Arguments = Callable[[str, Path], list[str]]


@dataclass(frozen=True)
class Place:
    """A place of a command line, or of a recipe, that takes a path."""

    name: str
    arguments: Arguments
    """The command line, given the path and a folder for files that it needs."""
    writes: bool = False
    in_worker: bool = False
    """Whether the path is used in a worker process, whose start takes seconds."""

    def bad(self, kind: Callable[[Path], str]) -> bool:
        """Whether a path of this kind is an error here. Arguments of a process have no null bytes."""
        return not (self.writes and kind.__name__ in NEW) and (kind is not null_byte or self.in_recipe)

    @property
    def in_recipe(self) -> bool:
        """Whether a recipe has the path, which may have a null byte there."""
        return " task." in self.name


def recipe(folder: Path, **keys: str) -> str:
    """The path of a recipe of a named model whose [task] has these keys."""
    text = "".join(f"{key} = {_quoted(value)}\n" for key, value in keys.items())
    path = folder / "made.toml"
    path.write_text(
        f'schema = 1\nname = "made"\n[task]\n{text}objective = {{ metric = "accuracy", mode = "max" }}\n'
        "[space]\nlr = 0.1\n[budget]\ntrials = 1\n[search]\nsampler = 'random'\nfidelity = { min = 1, max = 1 }\n"
    )
    return str(path)


def _quoted(text: str) -> str:
    escaped = text.encode("utf-8", errors="replace").decode().replace("\\", "\\\\").replace("\0", "\\u0000")
    return '"' + escaped.replace("\n", "\\n") + '"'


CPU = ["--device", "cpu"]
TASK = ["--task", "clitask:task"]
MLP = ["--model", "mlp"]
RUNS = {
    "search": ["search", "blobs.toml", *CPU],
    "train": ["train", "one.toml", *CPU],
    "batch": ["batch", *TASK, "--device", "simulated:1GiB", "--max", "2"],
    "lr": ["lr", *TASK, *CPU],
    "compare": ["compare", "random0", "grid0"],
}
"""Command lines that write a run."""


def _after(*words: str, prefix: str = "", then: Sequence[str] = ()) -> Arguments:
    """The words, and the path after them."""
    return lambda path, folder: [*words, f"{prefix}{path}", *then]


def _in_task(command: str, key: str, *, prefix: str = "", **keys: str) -> Arguments:
    """A command with a recipe that has the path in [task]."""
    return lambda path, folder: [command, recipe(folder, **keys, **{key: f"{prefix}{path}"}), *CPU]


def _places() -> Iterator[Place]:
    for command in ("space", "search", "train", "batch", "lr"):
        yield Place(f"{command} RECIPE", _after(command))
    yield Place("report RUN", _after("report"))
    yield Place("compare RUN", _after("compare", then=["random0"]))
    yield Place("export RUN", _after("export", then=["--optuna", "sqlite:///x.db"]))
    yield Place("search --resume --out", _after("search", "blobs.toml", "--resume", "--out"))
    for command, line in RUNS.items():
        for option in ("--out", "--json"):
            yield Place(f"{command} {option}", _after(*line, option), writes=True)
    yield Place("data --data-dir", _after("data", "mnist", "--data-dir"), writes=True)
    yield Place("lr --data-dir", _after("lr", *MLP, "--data", "mnist", *CPU, "--data-dir"), writes=True)
    for kind in ("csv", "folder", "series", "text"):
        yield Place(f"lr --data {kind}:", _after("lr", *MLP, *CPU, "--data", prefix=f"{kind}:"))
        yield Place(f"train task.data={kind}:", _in_task("train", "data", prefix=f"{kind}:", model="mlp"))
    yield Place("train task.weights", _in_task("train", "weights", model="resnet18", data="synthetic"))
    yield Place("batch --data text:", _after("batch", *MLP, "--data", prefix="text:"), in_worker=True)
    yield Place("search task.data=csv:", _in_task("search", "data", prefix="csv:", model="mlp"), in_worker=True)
    weights = _in_task("search", "weights", model="resnet18", data="synthetic")
    yield Place("search task.weights", weights, in_worker=True)


PLACES = tuple(_places())


_CAPABILITIES = 0x20080522
"""Version of the structure of capget and capset, see capabilities(7)."""
_READ_ALL = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may read and write everything."""


@contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions of files count, also for root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    given = sets[0]
    sets[0] = given & ~_READ_ALL
    libc.capset(header, sets)
    try:
        yield
    finally:
        sets[0] = given
        libc.capset(header, sets)
