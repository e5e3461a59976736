"""Searches that may end with an error."""

from __future__ import annotations

from typing import Any

from probe.cli.output import with_partial_result
from probe.errors import ProbeError
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult


def search_outcome(recipe: Any, **options: Any) -> tuple[SearchResult, ProbeError | None]:
    """Return the result of a search, partial if an error ended it, and that error. Raises errors without a result."""
    return with_partial_result(find_hyperparameters, recipe, **options)
