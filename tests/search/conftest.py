"""Searches of several test files share worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from warm_workers import close_all, warm_workers


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(scope="module", name="warm_workers")
def _warm_workers(worker_pool: None) -> Iterator[None]:
    """Searches of a module run in workers that earlier searches have left."""
    with warm_workers():
        yield
