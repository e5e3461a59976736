"""What module names stand for, without importing them."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from pathlib import Path

import pytest

from probe.system.module_names import add_working_folder, find_file, is_standard, namesake_hint, namesake_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.parametrize(
    "name", ["os", "os.path", "posix", "builtins", "_io", "zipimport", "subprocess", "test", "this"]
)
def test_modules_of_the_standard_library(name: str) -> None:
    assert is_standard(name)


@pytest.mark.parametrize("name", ["torch", "torch.hub", "numpy", "pytest", "probe.cli", "no_such_module", "__main__"])
def test_other_modules(name: str) -> None:
    assert not is_standard(name)


def test_a_users_test_py_is_not_that_of_python(folder: Path) -> None:
    (folder / "test.py").touch()
    sys.path.insert(0, str(folder))
    assert not is_standard("test")


def test_the_file_of_a_module_is_found_without_importing_its_packages(folder: Path) -> None:
    add_working_folder()
    for package in ("regular", "regular/inner", "spaces/inner"):
        (folder / package).mkdir(parents=True)
    for package in ("regular", "regular/inner"):
        (folder / package / "__init__.py").write_text("raise RuntimeError('imported')")
    for module in ("alone", "regular/inner/leaf", "spaces/inner/leaf"):
        (folder / f"{module}.py").write_text("raise RuntimeError('imported')")
    assert find_file("alone") == folder / "alone.py"
    assert find_file("regular.inner.leaf") == folder / "regular/inner/leaf.py"
    assert find_file("spaces.inner.leaf") == folder / "spaces/inner/leaf.py"
    for missing in ("nothing", "alone.leaf", "regular.nothing.leaf", "sys", "spaces"):
        assert find_file(missing) is None


def test_the_working_folder_comes_after_the_standard_library_and_before_all_else(folder: Path) -> None:
    others = [path for path in sys.path if not path.startswith(sysconfig.get_path("stdlib"))]
    standard = [path for path in sys.path if path not in others and "site-packages" not in path]
    for _ in range(2):
        add_working_folder()
        place = sys.path.index(str(folder))
        assert sys.path.count(str(folder)) == 1
        assert {path for path in standard if not path.endswith(".zip")} == set(sys.path[:place])
        assert [path for path in sys.path[place + 1 :] if path in others] == others


def test_a_file_with_the_name_of_another_module_is_named(folder: Path) -> None:
    assert namesake_hint("queue") is None
    for file in ("queue.py", "numpy.py", "owntask.py", "torch/__init__.py"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    assert "queue.py" in str(namesake_hint("queue"))
    assert "standard library" in str(namesake_hint("queue"))
    for module, file in (("numpy.random", "numpy.py"), ("torch", str(Path("torch/__init__.py")))):
        assert file in str(namesake_hint(module))
        assert "package" in str(namesake_hint(module))
    assert namesake_hint("owntask") is None


@pytest.mark.parametrize(
    ("code", "is_about_queue"),
    [
        ("from queue import own", True),
        ("import queue; queue.own", True),
        ("import queue.own", True),
        ("import queue; queue.Queue().own", False),
        ("import nothing", False),
        ("1 / 0", False),
    ],
)
def test_errors_about_a_module_lead_to_the_file_with_its_name(folder: Path, code: str, is_about_queue: bool) -> None:
    (folder / "queue.py").touch()
    with pytest.raises((ImportError, AttributeError, ZeroDivisionError)) as caught:
        exec(code)
    wrapped = RuntimeError("another error")
    wrapped.__cause__ = caught.value
    hint = namesake_of(caught.value)
    assert hint == namesake_of(wrapped)
    assert (hint is not None and "queue.py" in hint) == is_about_queue
