"""probe reads no pickle that another program could have written: pickles run code when they are read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROBE = Path(__file__).parents[1] / "probe"
READERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy", "code", "yaml"}
"""Modules that can run the code in a file."""
ALLOWED = {
    "workers/child.py": {"cloudpickle"},  # frames between a process and its own children
    "tasks/given.py": {"cloudpickle"},  # tasks of the caller's Python, sent through those frames
    "loading/loader_workers.py": {"pickle"},  # whether data can be sent to the workers of a DataLoader; nothing is read
    "models/pretrained.py": {"pickle"},  # the name of an exception
    "device/environment.py": {"runpy"},  # version.py of the installed PyTorch
}
SAFE_LOADS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
FORBIDDEN_CALLS = ("eval", "exec", "compile", "__import__", "read_pickle")
FILES = sorted(PROBE.rglob("*.py"))


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def mistakes(source: str, allowed: set[str]) -> list[str]:
    tree = ast.parse(source)
    found = [name for name in imported_modules(tree) if name in READERS - allowed]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        given = {one.arg: ast.literal_eval(one.value) for one in call.keywords if isinstance(one.value, ast.Constant)}
        if name in SAFE_LOADS and given.get(SAFE_LOADS[name][0]) is not SAFE_LOADS[name][1]:
            found.append(name)
        if name in FORBIDDEN_CALLS or name.endswith((".read_pickle", "torch.hub.load")):
            found.append(name)
        if given.get("allow_pickle") or given.get("trust_remote_code"):
            found.append(name)
    return found


@pytest.mark.parametrize("file", FILES, ids=[path.relative_to(PROBE).as_posix() for path in FILES])
def test_no_file_of_others_is_unpickled_or_executed(file: Path) -> None:
    assert mistakes(file.read_text(encoding="utf-8"), ALLOWED.get(file.relative_to(PROBE).as_posix(), set())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "eval(text)",
        "torch.hub.load(repository, model)",
    ],
)
def test_what_this_test_looks_for(source: str) -> None:
    assert mistakes(source, set())
    assert not mistakes("torch.load(path, weights_only=True); model.eval(); re.compile('a')", set())
