"""Other rooms ask a device for its properties: only `probe/device/` compares the names of backends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import probe
from probe.device.select import KINDS

PACKAGE = Path(probe.__file__).parent
BACKENDS = {name for name, kind in KINDS.items() if kind.is_gpu}


def comparisons(source: str) -> Iterator[int]:
    """Lines that compare or match a backend's name, or ask a tensor for its backend."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Compare, ast.MatchValue)):
            texts = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            if texts & BACKENDS:
                yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr in {f"is_{name}" for name in BACKENDS}:
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('device.type == "cuda"', [1]),
        ('kind in ("cpu", "mps")', [1]),
        ("x.is_xpu", [1]),
        ('match kind:\n    case "cuda":\n        pass', [2]),
        ('device.type == "cpu"', []),
        ('print("use --device cuda")', []),
    ],
)
def test_comparisons_are_found(source: str, found: list[int]) -> None:
    assert list(comparisons(source)) == found


def test_no_other_room_compares_backends() -> None:
    others = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "device" not in path.parents]
    assert len(others) > 100
    found = [f"{path}:{line}" for path in others for line in comparisons(path.read_text(encoding="utf-8"))]
    assert found == []
