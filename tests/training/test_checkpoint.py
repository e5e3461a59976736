from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import OutputError
from probe.training.checkpoint import load_checkpoint, save_checkpoint

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
