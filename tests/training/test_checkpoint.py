from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, load_model
from torch import nn

from probe.errors import OutputError
from probe.training.checkpoint import copied_weights, left_out_warning, load_checkpoint, save_checkpoint, save_weights

STATE = {"model": {"weight": torch.arange(400.0)}, "epoch": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "whole.pt"
    save_checkpoint(path, STATE)
    return path


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_or_harmless(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[place] ^= data.draw(st.integers(1, 255))
    path = whole.with_name("damaged.pt")
    path.write_bytes(content)
    state = None
    with suppress(OutputError):
        state = load_checkpoint(path)
    if state is not None:  # what was hit is padding
        assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])  # type: ignore[index]
        assert state["epoch"] == 3


def test_flipped_weights_are_noticed(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    place = content.index(torch.tensor(200.0).numpy().tobytes())
    content[place] ^= 1
    path = whole.with_name("flipped.pt")
    path.write_bytes(content)
    with pytest.raises(OutputError, match="damaged"):
        load_checkpoint(path)


def test_nothing_is_left_of_a_checkpoint_that_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "none" / "x.pt", STATE)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "taken", STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


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
