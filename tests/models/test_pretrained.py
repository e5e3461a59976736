"""Weights of a file: loaded into the model, or one sentence that says what is wrong with the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from probe.errors import DataError
from probe.models.pretrained import load_weights

SUFFIXES = (".pt", ".safetensors")
NO_HEAD: frozenset[str] = frozenset()


def save(path: Path, model: nn.Module) -> None:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)


@pytest.fixture(params=SUFFIXES)
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of the weights of a linear layer of 3 inputs and 2 outputs."""
    path = tmp_path / f"weights{request.param}"
    save(path, nn.Linear(3, 2))
    return path


def test_weights_are_loaded(weights: Path) -> None:
    model, saved = nn.Linear(3, 2), nn.Linear(3, 2)
    save(weights, saved)
    load_weights(model, weights, head=NO_HEAD)
    torch.testing.assert_close(model.state_dict(), saved.state_dict())


def test_an_empty_file_is_named(weights: Path) -> None:
    weights.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        load_weights(nn.Linear(3, 2), weights, head=NO_HEAD)


def test_every_truncation_is_a_data_error(weights: Path) -> None:
    content = weights.read_bytes()
    for length in range(1, len(content), 37):
        weights.write_bytes(content[:length])
        with pytest.raises(DataError, match=weights.name) as caught:
            load_weights(nn.Linear(3, 2), weights, head=NO_HEAD)
        assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [(nn.Linear(4, 2), r"weight of shape \(2, 3\).*needs \(2, 4\)"), (nn.Conv1d(3, 2, 1, bias=False), "another model")],
    ids=["another shape", "other names"],
)
def test_weights_of_another_model_are_named(weights: Path, model: nn.Module, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_weights(model, weights, head=NO_HEAD)
