"""Searches that may end with an error."""

from __future__ import annotations

from typing import Any

from probe.errors import ProbeError
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult


def search_outcome(recipe: Any, **options: Any) -> tuple[SearchResult, ProbeError | None]:
    """The result of a search, partial if it ended with an error, and that error. Other errors are raised."""
    try:
        return find_hyperparameters(recipe, **options), None
    except ProbeError as error:
        if error.result is None:
            raise
        return error.result, error
