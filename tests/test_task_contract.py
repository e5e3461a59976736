"""The user's contract: loading `module:callable`, and what a Task refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import torch

import probe
from probe.errors import TaskError, UserCodeError
from probe.tasks.target import load_task

GOOD = """
import probe, torch
def task(width: int = 4) -> probe.Task:
    return probe.Task(
        model=lambda: torch.nn.Linear(3, width), train=(torch.zeros(5, 3), torch.zeros(5, dtype=torch.long)), name=f"w{width}"
    )
def needs(width): return task(width)
def no_task(): return 42
def breaks(): return [][1]
value = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("made_good", "made_broken", "made_importer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "made_good.py").write_text(GOOD)
    (tmp_path / "made_broken.py").write_text("def task(:\n")
    (tmp_path / "made_importer.py").write_text("import no_such_package\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_keywords_are_hyperparameters() -> None:
    assert load_task("made_good:task").name == "w4"
    assert load_task("made_good:task", {"width": 7}).name == "w7"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "params", "message"),
    [
        ("made_good", {}, "does not name a task"),
        ("made_god:task", {}, "There is no module 'made_god'"),
        ("made_good:tsk", {}, r"(?s)Unknown callable.*'tsk'.*Did you mean task"),
        ("made_good:value", {}, "not a function"),
        ("made_good:task", {"widht": 3}, r"(?s)Unknown keyword.*'widht'.*Did you mean width"),
        ("made_good:needs", {}, "needs a value for 'width'"),
        ("made_good:no_task", {}, "must return a probe.Task, but returned int"),
    ],
)
def test_targets_that_cannot_be_loaded(target: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(target, params)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("made_good:breaks", "IndexError: list index out of range"),
        ("made_broken:task", "SyntaxError"),
        ("made_importer:task", "No module named 'no_such_package'"),
    ],
)
def test_the_users_bug_shows_the_users_traceback(target: str, line: str) -> None:
    with pytest.raises(UserCodeError) as caught:
        load_task(target)
    assert line in caught.value.traceback
    assert "probe/tasks/target.py" not in caught.value.traceback.replace("\\", "/")


def task_of(**changes: Any) -> probe.Task:
    fields: dict[str, Any] = {"model": torch.nn.Identity, "train": (torch.zeros(4, 2), torch.zeros(4))}
    return probe.Task(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": torch.nn.Linear(2, 2)}, "must be a function that returns one"),
        ({"model": "resnet"}, "Task.model must be callable"),
        ({"train": None}, "Task.train is missing"),
        ({"train": (torch.zeros(4, 2), torch.zeros(5))}, r"lengths are \[4, 5\]"),
        ({"train": (torch.zeros(0, 2), torch.zeros(0))}, "Task.train is empty"),
        ({"train": (numpy.zeros((4, 2)), numpy.zeros(5))}, r"lengths are \[4, 5\]"),
        ({"train": (numpy.array([["a"], ["b"]]), numpy.zeros(2))}, "Task.train holds a NumPy array of dtype <U1"),
        ({"val": (numpy.array([None, {}]), numpy.zeros(2))}, "Task.val holds a NumPy array of dtype object"),
        ({"test": (numpy.ma.array([1.0]), numpy.zeros(1))}, "Task.test holds a masked array"),
        ({"train": numpy.zeros((4, 2))}, r"Task.train is a single array of shape \(4, 2\), without targets"),
        ({"val": torch.zeros(4, 2)}, r"Task.val is a single array of shape \(4, 2\)"),
        ({"train": (pandas.DataFrame({"a": [1.0]}), pandas.Series([1]))}, "not DataFrame and Series"),
        ({"val": iter([])}, "Task.val must be a map-style data set"),
        ({"test": [], "train": (torch.zeros(4),)}, "Task.test is empty"),
        ({"loss": 3}, "Task.loss must be callable"),
        ({"metrics": {"accuracy": 3}}, "Metric 'accuracy' must not be an object of type int"),
        ({"metrics": [len]}, "Task.metrics must map names to metrics, not be a list"),
        ({"batch_size": 0}, "Task.batch_size must be an integer"),
        ({"batch_size": True}, "Task.batch_size must be an integer"),
    ],
)
def test_fields_that_break_the_contract(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        task_of(**changes)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (numpy.arange(6.0).reshape(3, 2), torch.float32),
        (numpy.arange(6, dtype=numpy.float32).reshape(3, 2)[::-1], torch.float32),
        (numpy.asfortranarray(numpy.arange(6).reshape(3, 2)), torch.int64),
        (numpy.arange(6, dtype=numpy.uint8).reshape(3, 2)[:, ::-1], torch.uint8),
        (numpy.array([True, False, True]), torch.bool),
    ],
    ids=["float64", "reversed", "fortran", "uint8", "bool"],
)
def test_arrays_become_tensors(array: Any, dtype: torch.dtype) -> None:
    array.setflags(write=False)
    task = task_of(train=(array, torch.zeros(3)), val=(array, array), test=array, forward=lambda model, batch: batch)
    for tensor in (task.train[0], *task.val, task.test):
        assert tensor.dtype == dtype
        assert tensor.tolist() == array.tolist()


def test_arrays_are_data_of_every_answer() -> None:
    inputs = numpy.random.default_rng(0).standard_normal((32, 4))
    task = probe.Task(model=lambda: torch.nn.Linear(4, 2), train=(inputs, numpy.arange(32) % 2), batch_size=8)
    assert probe.find_batch_size(task, device="simulated:1MiB", in_process=True, confirm_steps=0).largest_fit == 32
    assert probe.find_lr(task, steps=30, device="cpu").curves[0].num_steps > 0


def test_importing_probe_imports_none_of_its_libraries() -> None:
    heavy = ("torch", "torchvision", "optuna", "pandas", "matplotlib", "numpy", "pydantic", "sklearn", "click", "rich")
    program = f"import sys, probe, probe.task; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    for name in probe.__all__:
        assert getattr(probe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'find_everything'"):
        _ = probe.find_everything
