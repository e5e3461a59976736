"""Weights on disk: safetensors that load back, whatever the model shares or carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, load_model
from torch import nn

from probe.errors import OutputError
from probe.training.weights import copied_weights, left_out_warning, save_weights


class Tied(nn.Module):
    """An output layer that is the embedding's transpose, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.out = nn.Linear(3, 7, bias=False)
        self.out.weight = self.embedding.weight


class Remembering(nn.Linear):
    """State that is no tensor."""

    def get_extra_state(self) -> dict[str, Any]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        pass


def test_a_saved_model_loads_back_equal(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert save_weights(model, tmp_path / "weights.safetensors") == ()
    other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    load_model(other, tmp_path / "weights.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]


def test_tied_weights_are_stored_once_and_tied_again(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    save_weights(model, tmp_path / "w")
    assert len(load_file(tmp_path / "w")) == 1
    load_model(other, tmp_path / "w")
    assert torch.equal(other.embedding.weight, model.embedding.weight)
    assert other.out.weight is other.embedding.weight


def test_state_that_is_no_tensor_is_left_out_and_named(tmp_path: Path) -> None:
    model, other = Remembering(4, 2), Remembering(4, 2)
    left_out = save_weights(model, tmp_path / "w")
    assert left_out == ("_extra_state",)
    assert "_extra_state" in (left_out_warning("w", left_out) or "")
    other.load_state_dict(load_file(tmp_path / "w"), strict=False)
    assert torch.equal(other.weight, model.weight)


def test_transposed_parameters_are_written(tmp_path: Path) -> None:
    model = nn.Linear(4, 2)
    model.weight = nn.Parameter(torch.arange(8.0).reshape(4, 2).T)
    save_weights(model, tmp_path / "w")
    assert torch.equal(load_file(tmp_path / "w")["weight"], model.weight)


def test_a_folder_that_is_gone_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_weights(nn.Linear(2, 2), tmp_path / "nowhere" / "w")


def test_copies_stay_as_they_are_while_training_goes_on() -> None:
    model = nn.Linear(2, 2)
    kept = copied_weights(model)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    assert torch.equal(kept["weight"], before)
    model.load_state_dict(kept)
    assert torch.equal(model.weight, before)
