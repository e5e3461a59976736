"""The names of torchvision's classifiers. They are read from its source files, since its import takes seconds."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

_DROPOUT_KEYWORDS = {
    "alexnet": "dropout",
    "densenet": "drop_rate",
    "efficientnet": "dropout",
    "googlenet": "dropout",
    "inception": "dropout",
    "mnasnet": "dropout",
    "mobilenet": "dropout",
    "squeezenet": "dropout",
    "swin": "dropout",
    "vgg": "dropout",
    "vit": "dropout",
}
"""Families with dropout, by the start of their names, and torchvision's keyword for its probability."""
_REGISTERED = re.compile(r"^@register_model\(\)\n(?:[@ )].*\n)*def (\w+)\(", flags=re.MULTILINE)


@cache
def torchvision_names() -> tuple[str, ...]:
    """Names of all classifiers, sorted; empty if torchvision is not installed."""
    package = importlib.util.find_spec("torchvision")
    files = (
        [file for folder in package.submodule_search_locations or () for file in Path(folder, "models").glob("*.py")]
        if package
        else []
    )
    return tuple(sorted(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))))


def dropout_keyword(full: str) -> str | None:
    """torchvision's keyword for the dropout probability of a model, or None if it has no dropout."""
    return next((keyword for family, keyword in _DROPOUT_KEYWORDS.items() if full.startswith(family)), None)
