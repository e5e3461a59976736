from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.data.files.text import FIRST_WORD, OTHER_WORD, PADDING, encode, number_words, split_words
from probe.data.hyperparameters import TEXT
from probe.data.json_lines import LabelledText
from probe.data.protocol import DataOptions, LoadedData
from probe.data.registry import data_source, load_data
from probe.data.reuters import FOLDER, PREPARED, write_lines
from probe.errors import DataError, TaskError
from probe.tasks.source import NamedSource


def write_texts(folder: Path, *, count: int = 40) -> Path:
    """Texts of two classes, of which one is about its first word; every tenth is long."""
    path = folder / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            label = ("markets", "weather")[number % 2]
            first = ("shares", "rain")[number % 2]
            rest = " ".join(f"word{(number * 7 + place) % 23}" for place in range(30 if number % 10 == 0 else 3))
            file.write(json.dumps({"text": f"{first.upper()} {rest}.", "label": label}) + "\n")
    return path


def load(path: Path, **params: Any) -> LoadedData:
    return load_data(f"text:{path}", data_dir=path.parent, params=params)


def test_words_are_lower_case_runs_of_letters_and_digits() -> None:
    assert split_words("The Fed's 5.2 pct -- RISE, <in>\n Zürich_1!") == [
        *("the", "fed's", "5", "2", "pct", "rise", "in", "zürich", "1"),
    ]
    assert split_words(" . ?! ") == []


def test_a_file_of_texts_becomes_token_ids_and_classes(tmp_path: Path) -> None:
    data = load(write_texts(tmp_path))
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    tokens, classes = data.train
    assert (data.kind, data.task_type, data.num_outputs) == ("tokens", "classification", 2)
    assert data.class_names == ("markets", "weather")
    assert data.input_shape == (31,)
    assert (tokens.shape, tokens.dtype, classes.dtype) == ((32, 31), torch.int64, torch.int64)
    assert torch.bincount(data.test[1]).tolist() == [4, 4]
    assert data.vocabulary_size is not None
    assert int(torch.cat([tokens, data.test[0]]).max()) < data.vocabulary_size


def test_the_vocabulary_is_of_the_training_part_alone(tmp_path: Path) -> None:
    path = write_texts(tmp_path)
    data = load(path, vocabulary=1000)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert isinstance(data.train, tuple)
    tokens = data.train[0]
    counts = Counter(tokens[tokens >= FIRST_WORD].tolist())
    in_order = [counts[token] for token in range(FIRST_WORD, FIRST_WORD + len(counts))]
    assert in_order == sorted(in_order, reverse=True), "the most frequent word has the first id"
    assert OTHER_WORD not in tokens, "in the training part every word is known"
    assert sum(counts.values()) < sum(len(split_words(line["text"])) for line in lines)


def test_rare_words_share_an_id_and_long_texts_are_cut(tmp_path: Path) -> None:
    data = load(write_texts(tmp_path), vocabulary=2, max_length=4)
    assert isinstance(data.train, tuple)
    tokens = data.train[0]
    assert data.input_shape == (4,)
    assert data.vocabulary_size == FIRST_WORD + 2
    assert set(tokens.flatten().tolist()) == {OTHER_WORD, FIRST_WORD, FIRST_WORD + 1}
    assert not bool((tokens == PADDING).any()), "no text has fewer than four words"


def test_test_parts_are_the_same_every_time_and_as_large_as_was_asked(tmp_path: Path) -> None:
    path = write_texts(tmp_path)
    one = load_data(f"text:{path}", data_dir=tmp_path, options=DataOptions(test_fraction=0.5))
    other = load_data(
        f"text:{path}", data_dir=tmp_path, options=DataOptions(test_fraction=0.5), params={"vocabulary": 9999}
    )
    assert isinstance(one.test, tuple)
    assert isinstance(other.test, tuple)
    assert len(one.test[0]) == 20
    torch.testing.assert_close(one.test, other.test)


@given(
    texts=st.lists(st.lists(st.sampled_from("abcdef"), max_size=6).map(" ".join), min_size=1, max_size=6),
    vocabulary=st.integers(1, 8),
    max_length=st.integers(1, 8),
    data=st.data(),
)
def test_encoding_is_that_of_the_definition(
    texts: list[str], vocabulary: int, max_length: int, data: st.DataObject
) -> None:
    train = sorted(data.draw(st.sets(st.integers(0, len(texts) - 1))))
    tokens = encode(number_words(texts), np.array(train, dtype=np.int64), vocabulary=vocabulary, max_length=max_length)
    first_seen = list(dict.fromkeys(word for text in texts for word in text.split()))
    counts = Counter(word for index in train for word in texts[index].split())
    ranked = sorted(counts, key=lambda word: (-counts[word], first_seen.index(word)))[:vocabulary]
    id_of = {word: FIRST_WORD + place for place, word in enumerate(ranked)}
    length = max(1, min(max_length, max(len(text.split()) for text in texts)))
    for text, row in zip(texts, tokens.tolist(), strict=True):
        ids = [id_of.get(word, OTHER_WORD) for word in text.split()][:length]
        assert row == ids + [PADDING] * (length - len(ids))


def test_a_file_that_was_edited_is_read_again(tmp_path: Path) -> None:
    path = write_texts(tmp_path)
    before = load(path)
    assert load(path) is before
    write_texts(tmp_path, count=60)
    after = load(path)
    assert isinstance(after.train, tuple)
    assert len(after.train[0]) == 48


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"vocabulary": 0}, "vocabulary must be a whole number from 1 to"),
        ({"vocabulary": 10.5}, "vocabulary must be a whole number from 1 to"),
        ({"max_length": -1}, "max_length must be a whole number from 1 to"),
    ],
)
def test_wrong_hyperparameters(tmp_path: Path, params: dict[str, Any], rule: str) -> None:
    with pytest.raises(TaskError, match=rule):
        load(write_texts(tmp_path), **params)


def test_a_task_takes_the_models_hyperparameters_and_the_texts(tmp_path: Path) -> None:
    path = write_texts(tmp_path)
    source = NamedSource(model="text-transformer", data=f"text:{path}", data_dir=tmp_path)
    assert {"heads", "vocabulary", "max_length"} <= set(source.keywords() or ())
    task = source.build({"embedding": 8, "heads": 2, "vocabulary": 10, "max_length": 5})
    assert task.stratify
    assert task.model()(task.train[0][:3]).shape == (3, 2)
    with pytest.raises(TaskError, match=r"Unknown hyperparameter of .*: 'max_lenght'.\nDid you mean max_length"):
        source.build({"max_lenght": 5})
    with pytest.raises(TaskError, match=r"cnn cannot take texts"):
        NamedSource(model="cnn", data=f"text:{path}", data_dir=tmp_path).build({})


def test_images_sizes_and_missing_paths_are_refused(tmp_path: Path) -> None:
    path = write_texts(tmp_path)
    with pytest.raises(TaskError, match="holds no images that could be resized"):
        load_data(f"text:{path}", data_dir=tmp_path, image_size=32)
    with pytest.raises(DataError, match=r"gone\.jsonl cannot be read"):
        load_data(f"text:{tmp_path / 'gone.jsonl'}", data_dir=tmp_path)
    with pytest.raises(DataError, match="names no file"):
        load_data("text:", data_dir=tmp_path)


def test_reuters_is_read_from_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [LabelledText(text=f"profit {n}" if n % 2 else ".", label="earn" if n % 3 else "acq") for n in range(30)]
    (tmp_path / FOLDER).mkdir()
    write_lines(texts, tmp_path / FOLDER / PREPARED)
    monkeypatch.setattr("probe.data.reuters.TOPIC_COUNTS", {"earn": 20, "acq": 10})
    monkeypatch.setattr("probe.data.reuters.NUM_TOPICS", 2)
    data = load_data("reuters", data_dir=tmp_path)
    assert isinstance(data.train, tuple)
    assert data.class_names == ("acq", "earn")
    assert len(data.train[0]) == 24
    assert bool((data.train[0] == PADDING).all(dim=1).any()), "a newswire without a word is all padding"
    assert data_source("reuters").hyperparameters == TEXT == data_source("text:x.jsonl").hyperparameters
