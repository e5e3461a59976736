"""Atomic writes: the whole file or nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from probe.errors import DiskFullError, OutputError
from probe.files import atomic_file, atomic_path, write_bytes, write_error, write_text


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
