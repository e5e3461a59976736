from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.batch.records import Attempt, BatchResult
from probe.records import MemoryReading
from probe.records_json import from_plain, to_plain

quick = settings(deadline=None, max_examples=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    value: float
    name: str = "unnamed"

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError(f"value {self.value} is below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    kind: Literal["oak", "ash"]
    leaves: tuple[Leaf, ...]
    settings: Mapping[str, bool | int | float | str]
    top: Leaf | None = None
    ranges: Mapping[str, tuple[float, ...]] | None = None
    by_name: Mapping[str, Leaf] = field(default_factory=dict)
    num_rings: int = 0
    is_green: bool = True
    rest: Any = None


finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, value=finite.map(abs), name=st.text())
trees = st.builds(
    Tree,
    kind=st.sampled_from(["oak", "ash"]),
    leaves=st.lists(leaves, max_size=3).map(tuple),
    settings=st.dictionaries(st.text(), st.booleans() | st.integers() | finite | st.text(), max_size=4),
    top=st.none() | leaves,
    ranges=st.none() | st.dictionaries(st.text(), st.lists(finite, max_size=3).map(tuple), max_size=2),
    by_name=st.dictionaries(st.text(), leaves, max_size=2),
    num_rings=st.integers(),
    is_green=st.booleans(),
)


def plain_tree(**changes: Any) -> dict[str, Any]:
    return {"kind": "oak", "leaves": [{"value": 1.0}], "settings": {}} | changes


@given(trees)
@quick
def test_a_record_comes_back_through_json_text(tree: Tree) -> None:
    back = from_plain(Tree, json.loads(json.dumps(to_plain(tree))))
    assert back == tree
    types = [type(value) for value in back.settings.values()]
    assert types == [type(value) for value in tree.settings.values()]  # 1, 1.0 and True are equal, but not the same


def test_unknown_keys_are_ignored_and_missing_ones_take_their_default() -> None:
    tree = from_plain(Tree, plain_tree(leaves=[{"value": 2, "colour": "red"}], height=3))
    assert tree == Tree(kind="oak", leaves=(Leaf(value=2.0),), settings={})
    assert type(tree.leaves[0].value) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leaves": {}}, r"^Tree\.leaves: .*array, not \{\}"),
        ({"leaves": [{"value": 1.0}, {"value": "x"}]}, r"^Tree\.leaves\[1\]\.value: .*number, not 'x'"),
        ({"leaves": [{"value": True}]}, r"^Tree\.leaves\[0\]\.value: .*number, not True"),
        ({"leaves": [{}]}, r"^Tree\.leaves\[0\]\.value is missing"),
        ({"leaves": [{"value": -1.0}]}, r"^Tree\.leaves\[0\]: value -1.0 is below 0"),
        ({"top": {"value": None}}, r"^Tree\.top\.value: .*number, not None"),
        ({"top": 3}, r"^Tree\.top: .*object, not 3"),
        ({"by_name": {"a": {"value": "x"}}}, r"^Tree\.by_name\.a\.value: .*number, not 'x'"),
        ({"ranges": {"a": [1.0, None]}}, r"^Tree\.ranges\.a\[1\]: .*number, not None"),
        ({"settings": []}, r"^Tree\.settings: .*object, not \[\]"),
        ({"settings": {"a": None}}, r"^Tree\.settings\.a: .*, not None"),
        ({"kind": "elm"}, r"^Tree\.kind: .*'oak' or 'ash', not 'elm'"),
        ({"kind": ["oak"]}, r"^Tree\.kind: .*not \['oak'\]"),
        ({"num_rings": 1.5}, r"^Tree\.num_rings: .*integer, not 1.5"),
        ({"num_rings": True}, r"^Tree\.num_rings: .*integer, not True"),
        ({"is_green": 1}, r"^Tree\.is_green: .*boolean, not 1"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(Tree, plain_tree(**changes))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_reading_refuses_numbers_that_are_not_finite(text: str) -> None:
    with pytest.raises(ValueError, match=r"Leaf\.value: .*finite number"):
        from_plain(Leaf, {"value": json.loads(text)})
    with pytest.raises(ValueError, match=r"Tree\.top\.value"):
        from_plain(Tree, plain_tree(top={"value": json.loads(text)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_writing_refuses_numbers_that_are_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        to_plain(Tree(kind="oak", leaves=(), settings={"a": value}))


@pytest.mark.parametrize("value", [object(), {1: "a"}, {"a": {1, 2}}, b"bytes", 1j, Tree])
def test_only_records_are_written(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be stored"):
        to_plain(value)


@pytest.mark.parametrize("changes", [{"settings": {"a": b"x"}}, {"num_rings": 1.5}, {"leaves": ("x",)}])
def test_writing_refuses_values_that_do_not_have_the_type_of_their_field(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"kind": "oak", "leaves": (), "settings": {}}
    with pytest.raises(ValueError, match="serializ"):
        to_plain(Tree(**fields | changes))


def test_undecodable_bytes_of_a_command_line_do_not_make_a_record_unreadable() -> None:
    plain = json.loads(json.dumps(to_plain(Leaf(value=1.0, name="a\udcff"))))
    assert from_plain(Leaf, plain) == Leaf(value=1.0, name="a?")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
@quick
def test_reading_anything_gives_a_record_or_a_value_error(plain: Any) -> None:
    for candidate in (plain, {"value": plain}):
        try:
            read = from_plain(Leaf, candidate)
        except ValueError:
            continue
        assert read.value >= 0


def test_an_invariant_of_a_stored_record_is_checked_when_it_is_read() -> None:
    memory = MemoryReading(peak_allocated_bytes=1, peak_reserved_bytes=2)
    attempt = Attempt(
        batch_size=8, purpose="size", outcome="fits", step_seconds=0.1, samples_per_second=80.0, memory=memory
    )
    plain = to_plain(attempt)
    assert from_plain(Attempt, plain) == attempt
    plain["memory"]["peak_allocated_bytes"] = 3
    with pytest.raises(ValueError, match=r"^Attempt\.memory: allocated peak 3"):
        from_plain(Attempt, plain)
    with pytest.raises(ValueError, match=r"^BatchResult\.meta is missing"):
        from_plain(BatchResult, {"schema": 1})
