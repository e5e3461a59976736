"""Atomic writes: the whole file or nothing. Reads that neither wait nor go on forever. Modes, and errors of the system."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import nn

from probe.errors import DataError, DiskFullError, OutputError
from probe.files import (
    atomic_file,
    atomic_path,
    file_stamp,
    move_file,
    read_bytes,
    read_text,
    system_error,
    system_errors,
    write_bytes,
    write_csv,
    write_error,
    write_text,
)
from probe.search.storage.database import SearchDatabase
from probe.search.storage.folder import run_lock
from probe.training.checkpoint import save_checkpoint, save_weights


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_text(path, "first")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["result.json"]


def test_lone_surrogates_are_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "argv", "caf\udce9")
    assert (tmp_path / "argv").read_bytes() == rb"caf\udce9"


def write_half_of_a_file(path: Path, error: type[BaseException]) -> None:
    with atomic_file(path) as file:
        file.write(b"half")
        raise error


def write_half_through_a_path(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("write_half", [write_half_of_a_file, write_half_through_a_path])
@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_a_write_that_fails_keeps_the_old_file(
    tmp_path: Path, write_half: Callable[..., None], error: type[BaseException]
) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights"]


def test_the_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none") as caught:
        write_bytes(tmp_path / "none" / "x", b"")
    assert not isinstance(caught.value, DiskFullError)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_of_its_own(number: int) -> None:
    wrapped = RuntimeError("unexpected pos 64 vs 0")
    wrapped.__context__ = OSError(number, "no room")
    assert isinstance(write_error("checkpoint", Path("x"), wrapped), DiskFullError)


def test_a_file_with_the_longest_name_can_be_written(tmp_path: Path) -> None:
    for letter in ("x", "ü"):
        name = letter * (255 // len(letter.encode()))
        write_text(tmp_path / name, "content")
        assert (tmp_path / name).read_text() == "content"


@pytest.fixture(params=[0o027, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_have_the_mode_that_the_umask_says(tmp_path: Path, umask: int) -> None:
    save_checkpoint(tmp_path / "trial.pt", {"epoch": 1})
    save_weights(nn.Linear(2, 2), tmp_path / "weights.safetensors")
    write_csv(tmp_path / "table.csv", ["a"], [[1]])
    move_file(tmp_path / "table.csv", tmp_path / "moved.csv")
    SearchDatabase.create(tmp_path / "search.sqlite", {}).close()
    with run_lock(tmp_path):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes.keys() == {"trial.pt", "weights.safetensors", "moved.csv", "search.sqlite", "search.lock"}
    assert set(modes.values()) == {0o666 & ~umask}


def test_a_search_can_run_in_a_folder_whose_name_is_not_text(tmp_path: Path) -> None:
    facts = {"data_dir": str(tmp_path / "caf\udce9's")}
    with SearchDatabase.create(tmp_path / "search.sqlite", facts) as database:
        assert database.facts()["data_dir"].endswith(r"caf\udce9's")


def write_with_its_own_mode(path: Path) -> None:
    """As a library that replaces the file by one of mode 0600."""
    path.unlink()
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def test_a_library_cannot_choose_the_mode(tmp_path: Path, umask: int) -> None:
    with atomic_path(tmp_path / "file") as temporary:
        write_with_its_own_mode(temporary)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_pipe_that_nothing_writes_to_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(tmp_path / "pipe") == b""


def test_a_device_is_not_read() -> None:
    with pytest.raises(OSError, match="device"):
        read_bytes(Path("/dev/zero"))


def test_a_larger_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", most=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_text(tmp_path / "file", most=4)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["null byte", "no letter"])
def test_a_name_that_no_file_can_have_is_an_error_of_the_system(name: str) -> None:
    with pytest.raises(OSError, match="No file can have this name"):
        file_stamp(Path(name))


def test_the_stamp_of_a_missing_file_is_none(tmp_path: Path) -> None:
    assert file_stamp(tmp_path / "missing") is None
    (tmp_path / "file").touch()
    assert file_stamp(tmp_path / "file" / "below") is None
    with pytest.raises(OSError, match="File name too long"):
        file_stamp(tmp_path / ("x" * 300))


def test_an_error_of_the_system_names_the_path_or_the_limit() -> None:
    with pytest.raises(DataError, match="x cannot be used: Is a directory"), system_errors(DataError):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", "x")
    with pytest.raises(DiskFullError, match="disk is full"), system_errors(DataError):
        raise OSError(errno.ENOSPC, "No space left on device", "x")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    too_many = system_error(OSError(errno.EMFILE, "Too many open files"))
    assert f"{limit} (`ulimit -n`)" in too_many.message
    assert "ulimit -n" in str(too_many.hint)
