"""Labelled texts as token ids: `text:PATH`, a file of JSON lines, and the data set `reuters`.

The tokens of a text are its words in lower case, runs of letters and digits. Each of the `vocabulary` most frequent words of
the training split has its own id. The counts include the words, but not the classes, of a validation split that is held out of
the training split later.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from probe.data.hyperparameters import TEXT
from probe.data.json_lines import LabelledText, read_labelled_texts
from probe.data.protocol import TEST_SEED, DataRequest, LoadedData
from probe.data.reuters import ensure_reuters, read_prepared
from probe.files import file_stamp
from probe.limits import check_values
from probe.splits import hold_out_indices

DEFAULT_VOCABULARY = 10_000
DEFAULT_MAX_LENGTH = 512
PADDING = 0
OTHER_WORD = 1
"""Id of all words that are not among the most frequent ones."""
FIRST_WORD = 2

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberedWords:
    """The words of texts as numbers, counted from 0 in the order of first appearance: a few bytes per word."""

    numbers: np.ndarray
    """Words of all texts, concatenated, int32."""
    lengths: np.ndarray
    """Number of words of each text, int64."""
    num_distinct: int


def load(request: DataRequest) -> LoadedData:
    """Token ids (N, L) and class numbers. The test split is a stratified fraction of the texts; of Reuters 2,246 newswires, as
    many as in the set that Keras distributes, but not the same ones. Raises DataError and TaskError."""
    params = dict(request.params)
    vocabulary = params.get("vocabulary", DEFAULT_VOCABULARY)
    max_length = params.get("max_length", DEFAULT_MAX_LENGTH)
    check_values(TEXT, vocabulary=vocabulary, max_length=max_length)
    is_reuters = request.name == "reuters"
    path = ensure_reuters(request.data_dir) if is_reuters else request.path
    words, labels = _read(path, file_stamp(path), is_reuters)
    names, classes = np.unique(labels, return_inverse=True)
    train, test = hold_out_indices(len(classes), fraction=request.options.test_fraction, seed=TEST_SEED, labels=classes)
    tokens = torch.from_numpy(encode(words, train, vocabulary=vocabulary, max_length=max_length))
    targets = torch.from_numpy(classes.astype(np.int64))
    rows = {"train": torch.from_numpy(train), "test": torch.from_numpy(test)}
    return LoadedData(
        train=(tokens[rows["train"]], targets[rows["train"]]),
        test=(tokens[rows["test"]], targets[rows["test"]]),
        kind="tokens",
        num_outputs=len(names),
        input_shape=(tokens.shape[1],),
        class_names=tuple(str(name) for name in names),
        vocabulary_size=FIRST_WORD + min(vocabulary, words.num_distinct),
    )


def split_words(text: str) -> list[str]:
    """`"The Fed's 5 pct rise."` -> `["the", "fed's", "5", "pct", "rise"]`."""
    return _WORD.findall(text.lower())


def number_words(texts: Iterable[str]) -> NumberedWords:
    """Replace the words of `texts` by numbers."""
    number_of: dict[str, int] = {}
    numbers, lengths = array("i"), array("q")
    for text in texts:
        words = split_words(text)
        lengths.append(len(words))
        numbers.extend(number_of.setdefault(word, len(number_of)) for word in words)
    return NumberedWords(
        numbers=np.array(numbers, dtype=np.int32),
        lengths=np.array(lengths, dtype=np.int64),
        num_distinct=len(number_of),
    )


def encode(words: NumberedWords, train: np.ndarray, *, vocabulary: int, max_length: int) -> np.ndarray:
    """Token ids (N, L) of int64, L being the length of the longest text but at most `max_length`; shorter texts are padded. Ids
    from FIRST_WORD on are the most frequent words of the texts `train`, in descending order; words that appear first win
    ties."""
    text_of = np.repeat(np.arange(len(words.lengths)), words.lengths)
    counts = np.bincount(words.numbers[np.isin(text_of, train)], minlength=words.num_distinct)
    ranked = np.argsort(-counts, kind="stable")[:vocabulary]
    known = ranked[counts[ranked] > 0]
    token_of = np.full(words.num_distinct, OTHER_WORD, dtype=np.int64)
    token_of[known] = FIRST_WORD + np.arange(len(known))
    starts = np.cumsum(words.lengths) - words.lengths
    place = np.arange(len(words.numbers)) - np.repeat(starts, words.lengths)
    length = max(1, min(max_length, int(words.lengths.max(initial=0))))
    kept = place < length
    tokens = np.full((len(words.lengths), length), PADDING, dtype=np.int64)
    tokens[text_of[kept], place[kept]] = token_of[words.numbers[kept]]
    return tokens


@lru_cache(maxsize=2)
def _read(path: Path, stamp: tuple[int, int] | None, is_reuters: bool) -> tuple[NumberedWords, list[str]]:
    """Words and labels of a file, cached for searches that vary the vocabulary."""
    texts: list[LabelledText] = read_prepared(path) if is_reuters else read_labelled_texts(path)
    return number_words(text.text for text in texts), [text.label for text in texts]
