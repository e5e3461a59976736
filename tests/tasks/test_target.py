"""Which callables a recipe may name as its target, and that no other one is imported or called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from probe.errors import TaskError
from probe.tasks.target import find_target, load_task

OWN = """
import builtins, functools, operator
from importlib import import_module
from os import system
from subprocess import Popen, run
from torch import FloatTensor
import probe, torch

run_code = builtins.exec
make_file = functools.partial(system, "touch called")
cached = functools.cache(system)
with_command = functools.partial(functools.partial(run), "touch called", shell=True)
call_method = operator.methodcaller("unlink")
append = [].append
own_probe = probe.find_lr

def make(**settings) -> probe.Task:
    return probe.Task(model=lambda: torch.nn.Linear(2, 2), train=(torch.ones(8, 2), torch.arange(8) % 2), **settings)

def plain(width=4, *, depth=1): return make(name=f"{width} {depth}")
def with_any(*layers, **settings): return make(name=f"{len(layers)} {sorted(settings)}")
def by_position(width, /): return make()
def optional_by_position(width=3, /, depth=1): return make(name=f"{width} {depth}")
fixed = functools.partial(plain, 16)
remembered = functools.lru_cache(plain)
anonymous = lambda width=4: make(name=str(width))

class Factory:
    def __call__(self, width=4): return make(name=f"called {width}")
    def build(self, width=4): return make(name=f"built {width}")

instance = Factory()
method = Factory().build

class OwnTask(probe.Task):
    def __init__(self, width=4): super().__init__(model=torch.nn.Identity, train=(torch.ones(8, 2),), name="own class")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "owntasks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "owntasks", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        "os:system",
        "os.path:join",
        "posix:system",
        "subprocess:run",
        "pty:spawn",
        "builtins:exec",
        "importlib:import_module",
        "antigravity:webbrowser",  # opens a browser when it is imported
        "idlelib.run:main",
        "test.support:run_code",
        "probe.cli.main:run",
        "probe:train",
    ],
)
def test_modules_of_python_and_of_probe_are_refused_before_they_are_imported(folder: Path, target: str) -> None:
    module, before = target.partition(":")[0], set(sys.modules)
    with pytest.raises(TaskError) as caught:
        find_target(target)
    assert target in caught.value.message
    assert module in caught.value.message.removeprefix(target)
    assert "mytask:task" in str(caught.value.hint)
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] == module.partition(".")[0]}


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("system", "posix"),
        ("run", "subprocess"),
        ("Popen", "subprocess"),
        ("import_module", "importlib"),
        ("run_code", "builtins"),
        ("make_file", "posix"),
        ("cached", "posix"),
        ("with_command", "subprocess"),
        ("call_method", "operator"),
        ("append", "builtins"),
        ("own_probe", "probe"),
    ],
)
def test_functions_that_the_module_only_imported_are_refused_by_their_origin(
    folder: Path, name: str, origin: str
) -> None:
    with pytest.raises(TaskError, match=rf"owntasks:{name} .*\b{origin}\b"):
        load_task(f"owntasks:{name}", {"command": "touch called", "args": "touch called", "shell": True})
    assert not (folder / "called").exists()


@pytest.mark.parametrize(
    ("name", "params", "made"),
    [
        ("plain", {"width": 8, "depth": 2}, "8 2"),
        ("with_any", {"width": 8, "layers": 3}, "0 ['layers', 'width']"),
        ("optional_by_position", {"depth": 2}, "3 2"),
        ("fixed", {"depth": 2}, "16 2"),
        ("remembered", {"width": 8}, "8 1"),
        ("anonymous", {"width": 8}, "8"),
        ("instance", {"width": 8}, "called 8"),
        ("method", {"width": 8}, "built 8"),
        ("OwnTask", {"width": 8}, "own class"),
    ],
)
def test_every_callable_of_the_user_with_keywords_is_a_task(
    folder: Path, name: str, params: dict[str, int], made: str
) -> None:
    assert load_task(f"owntasks:{name}", params).name == made


def test_a_callable_without_keywords_is_refused_before_the_call(folder: Path) -> None:
    with pytest.raises(TaskError, match="'width' by position"):
        find_target("owntasks:by_position")
    with pytest.raises(TaskError, match=r"owntasks:FloatTensor .* keywords"):
        find_target("owntasks:FloatTensor")
    for name, keyword in (("optional_by_position", "width"), ("plain", "wdth")):
        with pytest.raises(TaskError, match=keyword):
            load_task(f"owntasks:{name}", {keyword: 1})


def test_an_installed_package_may_hold_the_task(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path_factory.mktemp("lib") / "site-packages"
    (site / "installedtasks").mkdir(parents=True)
    (site / "installedtasks" / "__init__.py").touch()
    (site / "installedtasks" / "blobs.py").write_text("from owntasks import plain\ndef task(): return plain(32)")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert load_task("installedtasks.blobs:task").name == "32 1"
    for name in [name for name in sys.modules if name.startswith("installedtasks")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(("name", "other"), [("queue", "standard library"), ("torch", "package"), ("probe", "package")])
def test_a_target_with_the_name_of_another_module_is_told_to_be_renamed(folder: Path, name: str, other: str) -> None:
    (folder / f"{name}.py").write_text("raise RuntimeError('imported')\ndef own_task(): pass")
    with pytest.raises(TaskError) as caught:
        find_target(f"{name}:own_task")
    for said in (f"{name}.py", other, "Rename"):
        assert said in str(caught.value.hint)
