"""Reuters-21578: from the SGML files of the public archive to one JSON line per newswire, with its text and first topic.

D. D. Lewis, "Reuters-21578 text categorization test collection", distribution 1.0, 1997. Its README describes the format; it is
free for research. As usual, only newswires with a topic are kept, labelled with their first topic, and of these the 46 most
frequent topics: 11,228 newswires, 35 % of them with topic `earn` and 22 % with `acq`.
"""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from probe.data.download import WRITE_HINT, Progress, download, no_progress, sha256
from probe.data.json_lines import LabelledText, read_labelled_texts
from probe.data.registry import download_of
from probe.errors import DataError
from probe.files import atomic_file, reason

ARCHIVE = "reuters21578.tar.gz"
FOLDER = download_of("reuters").folder
(PREPARED,) = download_of("reuters").files
URLS = (
    "https://kdd.ics.uci.edu/databases/reuters21578/reuters21578.tar.gz",
    "https://archive.ics.uci.edu/ml/machine-learning-databases/reuters21578-mld/reuters21578.tar.gz",
    "http://www.daviddlewis.com/resources/testcollections/reuters21578/reuters21578.tar.gz",
)
PUBLISHED_SHA256 = "3bae43c9b14e387f76a61b6d82bf98a4fb5d3ef99ef7e7075ff2ccbcf59f9d30"
"""Checksum of the file at the first URL, as published by others. Archives with the same files can be compressed differently, so
the contents decide: the number of files and the newswires of each topic."""
NUM_SGML_FILES = 22
NUM_TOPICS = 46
TOPIC_COUNTS = {
    **{"earn": 3972, "acq": 2423, "money-fx": 682, "crude": 543, "grain": 537, "trade": 473, "interest": 339},
    **{"ship": 209, "money-supply": 177, "sugar": 154, "gnp": 127, "coffee": 126, "gold": 123, "veg-oil": 94},
    **{
        "cpi": 86,
        "oilseed": 81,
        "cocoa": 67,
        "copper": 62,
        "reserves": 62,
        "bop": 60,
        "livestock": 58,
        "ipi": 57,
        "jobs": 57,
    },
    **{"alum": 53, "iron-steel": 52, "nat-gas": 51, "dlr": 46, "rubber": 42, "gas": 38, "tin": 32, "carcass": 29},
    **{"pet-chem": 29, "cotton": 28, "wpi": 27, "retail": 23, "wheat": 22, "meal-feed": 22, "orange": 22, "zinc": 21},
    **{"housing": 19, "strategic-metal": 19, "lead": 19, "hog": 17, "heat": 16, "lei": 16, "silver": 16},
}
"""Number of newswires of each topic, 11,228 in total: the same as in the set that Keras distributes."""

_SGML_FILE = re.compile(r"(?:.*/)?reut2-\d{3}\.sgm")
_NEWSWIRE = re.compile(r"<REUTERS\b.*?</REUTERS>", re.DOTALL)
_TOPICS = re.compile(r"<TOPICS>(.*?)</TOPICS>", re.DOTALL)
_TOPIC = re.compile(r"<D>(.*?)</D>", re.DOTALL)
_TITLE = re.compile(r"<TITLE>(.*?)</TITLE>", re.DOTALL)
_BODY = re.compile(r"<BODY>(.*?)</BODY>", re.DOTALL)
_REFERENCE = re.compile(r"&(?:#(\d+)|lt|gt|amp);")
_NAMED = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}


def fetch(name: str, data_dir: Path, progress: Progress) -> str:
    """Download and prepare the collection if necessary, and read it."""
    newswires = read_prepared(ensure_reuters(data_dir, progress=progress))
    return f"{len(newswires):,} newswires of {len({newswire.label for newswire in newswires})} topics"


def parse_sgml(content: str) -> Iterator[LabelledText]:
    """Yield the newswires with a topic of one file, in order. The text is `TITLE. Body`, with runs of white space replaced by
    one space. Brief newswires have no body. Newswires that the collection calls unprocessed mark neither title nor body; their
    text is a full stop."""
    for newswire in _NEWSWIRE.findall(content):
        topics = _TOPIC.findall(_first(_TOPICS, newswire))
        if topics:
            text = _characters(f"{_first(_TITLE, newswire)}. {_first(_BODY, newswire)}")
            yield LabelledText(text=" ".join(text.split()), label=_characters(topics[0]).strip())


def most_frequent(newswires: Iterable[LabelledText], num_topics: int) -> list[LabelledText]:
    """The newswires of the `num_topics` most frequent labels, in order; labels that appear first win ties."""
    found = list(newswires)
    kept = {label for label, _ in Counter(newswire.label for newswire in found).most_common(num_topics)}
    return [newswire for newswire in found if newswire.label in kept]


def ensure_reuters(data_dir: Path, *, progress: Progress = no_progress) -> Path:
    """Path of the prepared file in `data_dir`/reuters, made from the archive, which is downloaded if necessary. Raises
    DataError."""
    folder = data_dir / FOLDER
    prepared = folder / PREPARED
    if prepared.exists():
        return prepared
    archive = folder / ARCHIVE
    if not archive.exists():
        download(URLS, archive, progress=progress)
    newswires = read_archive(archive, progress=progress)
    write_lines(newswires, prepared)
    return prepared


def read_prepared(path: Path) -> list[LabelledText]:
    """Read the 11,228 newswires of the prepared file. Raises DataError if it cannot be read or has other contents."""
    newswires = read_labelled_texts(path)
    check_topics(Counter(newswire.label for newswire in newswires), path)
    return newswires


def read_archive(archive: Path, *, progress: Progress = no_progress) -> list[LabelledText]:
    """Read the 11,228 newswires of the archive in order, without unpacking it to disk. Raises DataError."""
    contents: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                file = tar.extractfile(member) if _SGML_FILE.fullmatch(member.name) else None
                if file is not None:
                    # Only one byte of the collection is not ASCII.
                    contents[Path(member.name).name] = file.read().decode("utf-8", errors="replace")
                    progress("Reading files", len(contents), NUM_SGML_FILES)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is damaged or incomplete: {error}.", hint=_again(archive)) from None
    except OSError as error:
        raise DataError(f"{archive} cannot be read: {reason(error)}.", hint=_again(archive)) from None
    if len(contents) != NUM_SGML_FILES:
        raise DataError(
            f"{archive} has {len(contents)} files reut2-000.sgm, reut2-001.sgm ..., not {NUM_SGML_FILES}.",
            hint=_again(archive),
        )
    parsed = (newswire for name in sorted(contents) for newswire in parse_sgml(contents[name]))
    newswires = most_frequent(parsed, NUM_TOPICS)
    check_topics(Counter(newswire.label for newswire in newswires), archive, checksum=sha256(archive))
    return newswires


def check_topics(counts: Counter[str], path: Path, *, checksum: str | None = None) -> None:
    """Raise DataError unless each topic has as many newswires as in the collection."""
    if counts == TOPIC_COUNTS:
        return
    expected = sum(TOPIC_COUNTS.values())
    problem = f"{path} has {counts.total():,} newswires of {len(counts)} topics, not {expected:,} of {NUM_TOPICS}"
    if counts.total() == expected and len(counts) == NUM_TOPICS:
        differs = next(topic for topic in {*TOPIC_COUNTS, *counts} if counts[topic] != TOPIC_COUNTS.get(topic, 0))
        problem = f"{path} has {counts[differs]:,} newswires of topic {differs}, not {TOPIC_COUNTS.get(differs, 0):,}"
    if checksum is not None and checksum != PUBLISHED_SHA256:
        problem += f", and its SHA-256 is {checksum}, not {PUBLISHED_SHA256}"
    raise DataError(f"{problem}.", hint=_again(path))


def write_lines(newswires: Iterable[LabelledText], path: Path) -> None:
    """Write one JSON object per line, compressed by gzip; equal newswires give equal bytes. The file appears when complete."""
    try:
        with atomic_file(path) as raw, gzip.GzipFile(path.stem, "wb", fileobj=raw, mtime=0) as packed:
            for newswire in newswires:
                line = json.dumps({"text": newswire.text, "label": newswire.label})
                packed.write(f"{line}\n".encode())
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {reason(error)}.",
            hint=WRITE_HINT,
        ) from None


def _again(path: Path) -> str:
    return (
        f"Delete it and run `probe data reuters` to download it again, or put an intact {ARCHIVE} into {path.parent}."
    )


def _first(pattern: re.Pattern[str], content: str) -> str:
    found = pattern.search(content)
    return found.group(1) if found is not None else ""


def _characters(content: str) -> str:
    """Replace SGML's character references, also those of control characters."""
    return _REFERENCE.sub(lambda match: chr(int(match[1])) if match[1] else _NAMED[match[0]], content)
