"""Pages, answers and plots of results with a text from outside in every free field: they show the text and nothing else."""

from __future__ import annotations

import csv
import io
import re
import tempfile
import tomllib
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from foreign_texts import FOREIGN_TEXTS, READABLE_TEXTS, unseen, with_texts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_records import (
    ALTERNATIVES,
    DEVICE_MEMORY,
    batch_result,
    cluster_use,
    comparison,
    confirmed_lr_result,
    lr_comparison,
    nothing_fits_result,
    predicted_result,
    search_comparison,
    search_result,
    train_result,
)
from markdown_it import MarkdownIt
from markdown_it.token import Token

from probe.cli.answers import answer_lines, layout_lines
from probe.printable import one_line
from probe.report.kinds import KINDS, Result, kind_of
from probe.report.search.best_recipe import BEST_FILE, best_recipe
from probe.report.search.figures import param_names
from probe.report.shared.markdown import code, code_cell, escape, fenced, link, prose
from probe.report.shared.plots import plot_style
from probe.report.shared.wording import NONE
from probe.search.records.search import SearchResult
from probe.single.records import TrainResult

RESULTS: dict[str, Result] = {
    "batch": batch_result(recommended=32, device_memory=DEVICE_MEMORY),
    "batch that does not fit": nothing_fits_result(alternatives=ALTERNATIVES),
    "batch predicted": predicted_result(),
    "batch comparison": comparison(),
    "lr": confirmed_lr_result(warnings=("a warning",)),
    "lr comparison": lr_comparison(),
    "search": search_result(num_trials=5, cluster=cluster_use(), warnings=("a warning",)),
    "search comparison": search_comparison(),
    "train": train_result(warnings=("a warning",)),
}
MARK = "\ue000"
"""A letter that no text has, which is neither upper nor lower case."""
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
foreign = (st.sampled_from(sorted(FOREIGN_TEXTS.values())) | st.text(max_size=20)).filter(str.strip)


def prefixed(name: str, text: str) -> Result:
    """The result with `text` before each of its texts, except the command line and the recipe, which programs read."""
    original = RESULTS[name]
    result = with_texts(original, lambda own: text + own)
    if isinstance(original, SearchResult | TrainResult) and isinstance(result, SearchResult | TrainResult):
        result = replace(result, recipe=original.recipe)
    return replace(result, meta=replace(result.meta, argv=original.meta.argv))


def page_of(result: Result) -> str:
    kind = kind_of(result)
    return kind.page(result, list(kind.drawings(result)))


@cache
def marked_page(name: str) -> list[Token]:
    return MARKDOWN.parse(page_of(prefixed(name, MARK)))


def structure(tokens: list[Token]) -> list[object]:
    """Blocks in their order, with the links, pictures and emphasis of each line."""
    found: list[object] = []
    for token in tokens:
        kinds = Counter(child.type for child in token.children or () if child.type not in ("text", "code_inline"))
        assert not kinds["html_inline"]
        found.append((token.type, token.tag, kinds, token.content if token.type == "html_block" else ""))
    return found


def contents(tokens: list[Token]) -> list[str]:
    """The text of each line as a reader sees it."""
    return [shown(token.children or []) for token in tokens if token.type == "inline"]


def shown(children: list[Token]) -> str:
    return "".join(shown(child.children) if child.children else child.content for child in children)


def same(text: str) -> str:
    """Sentences begin with a capital letter, and runs of spaces are one."""
    return " ".join(text.split()).casefold()


@pytest.mark.parametrize("name", RESULTS)
@settings(max_examples=15, deadline=None)
@given(text=foreign)
def test_a_page_has_its_blocks_and_shows_the_text(name: str, text: str) -> None:
    page = page_of(prefixed(name, text))
    assert unseen(page.replace("\n", "")) == set()
    tokens, expected = MARKDOWN.parse(page), marked_page(name)
    assert structure(tokens) == structure(expected)
    for link_token in (child for token in tokens for child in token.children or () if child.type == "link_open"):
        assert not re.match(r"[a-z]+:|/|\\", str(link_token.attrs["href"]), re.IGNORECASE)
    for line, marked in zip(contents(tokens), contents(expected), strict=True):
        if "…" not in line:  # not shortened
            assert same(line) == same(one_line(marked.replace(MARK, text)))


@pytest.mark.parametrize("name", RESULTS)
@settings(max_examples=10, deadline=None)
@given(text=foreign)
def test_an_answer_on_a_terminal_is_lines_of_text(name: str, text: str) -> None:
    lines = layout_lines(answer_lines(prefixed(name, text)), width=100)
    assert [unseen(line) for line in lines] == [set()] * len(lines)


@pytest.mark.parametrize("text", READABLE_TEXTS)
def test_texts_of_users_are_shown_as_they_are(text: str) -> None:
    page = MARKDOWN.parse(page_of(prefixed("train", f"{text} ")))
    for label in ("task", "name"):
        value = getattr(RESULTS["train"], label)
        assert any(f"{text} {value}" in line for line in contents(page))
    answer = "\n".join(layout_lines(answer_lines(prefixed("train", f"{text} ")), width=400))
    assert f"{text} accuracy" in answer


@settings(deadline=None)
@given(foreign.filter(lambda text: one_line(text) != NONE))
@example("a``b`c``")
@example("`")
@example("- -")
@example("2)")
def test_each_way_to_write_a_text_shows_it(text: str) -> None:
    in_lines = [f"{start}{write(text)} z" for start in ("x ", "- ", "> ", "## ", "") for write in (escape, code)]
    in_cells = [f"| {write(text)} z |\n| --- |" for write in (escape, code_cell)]
    for block in (*in_lines, *in_cells):
        tokens = MARKDOWN.parse(block)
        start = "x " if block.startswith("x ") else ""
        assert [same(line) for line in contents(tokens)] == [same(f"{start}{one_line(text)} z")]
        assert {child.type for token in tokens for child in token.children or ()} <= {"text", "code_inline"}
        assert len(tokens) <= {"-": 7, "|": 10}.get(block[0], 5)


@settings(deadline=None)
@given(foreign)
def test_quoted_code_in_prose_stays_code(text: str) -> None:
    tokens = MARKDOWN.parse(prose(f"Try `lr = 0.1`, {text.replace('`', '')}"))
    assert [child.content for child in tokens[1].children or [] if child.type == "code_inline"] == ["lr = 0.1"]
    assert same(contents(tokens)[0]) == same(one_line(f"Try lr = 0.1, {text.replace('`', '')}"))


@settings(deadline=None)
@given(foreign)
def test_a_fence_and_a_link_hold_any_text(text: str) -> None:
    (block,) = MARKDOWN.parse(fenced(text, "toml"))
    assert (block.type, block.info) == ("fence", "toml")
    tokens = MARKDOWN.parse(f"See {link(text)} here")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    (target,) = [child.attrs["href"] for child in tokens[1].children or [] if child.type == "link_open"]
    assert not re.match(r"[a-z]+:", str(target), re.IGNORECASE)


TAGS = set(re.findall(r"\w+", "h1 h2 h3 p strong em code pre table thead tbody tr th td ul ol li a img blockquote"))


def test_other_renderers_get_no_html_either() -> None:
    """Python-Markdown, which renders the pages of MkDocs, knows fewer escapes than GitHub."""
    markdown = pytest.importorskip("markdown")
    for text in FOREIGN_TEXTS.values():
        html = markdown.markdown(page_of(prefixed("train", text)), extensions=["tables", "fenced_code"])
        tags = set(re.findall(r"<(\w+)", html))
        assert tags <= TAGS
        assert not re.search(r"\b(onerror|href=.javascript)", re.sub(r"&\w+;.*?&\w+;|<code>.*?</code>", "", html))


PLOTTED = [
    "$\\frac{a$ $x^2$",
    "_hidden",
    "w" * 5000,
    "\x1b]0;owned\x07\x00\ud800",
    "\n\nError\n",
    "\u202e模型 🙂 نمونه",
]


@pytest.mark.parametrize("name", ["lr comparison", "search comparison", "train"])
@pytest.mark.parametrize("text", PLOTTED, ids=["mathtext", "underscore", "long", "control", "lines", "scripts"])
def test_plots_are_drawn_without_a_warning(name: str, text: str, tmp_path: Path) -> None:
    drawings = kind_of(RESULTS[name]).drawings(prefixed(name, text))
    with plot_style():
        assert all(draw(tmp_path / file) for file, draw in drawings.items())


def test_every_plot_of_a_search_is_drawn(tmp_path: Path) -> None:
    result = prefixed("search", "".join(PLOTTED))
    with plot_style():
        drawn = [file for file, draw in kind_of(result).drawings(result).items() if draw(tmp_path / file)]
    assert {"history.png", "importance.png", "parallel_coordinates.png", "all_learning_curves.png"} <= set(drawn)


@settings(max_examples=15, deadline=None)
@given(text=foreign.map(lambda text: re.sub("[\ud800-\udfff]", "", text)))
def test_best_toml_and_trials_csv_hold_the_values_exactly(text: str) -> None:
    result = prefixed("search", text)
    assert isinstance(result, SearchResult)
    recipe = best_recipe(result)
    assert recipe is not None
    assert result.best is not None
    assert unseen(recipe.replace("\n", "")) == set()
    assert tomllib.loads(recipe)["space"] == dict(result.best.params)
    with tempfile.TemporaryDirectory() as folder:
        kind_of(result).write_files(result, Path(folder))
        assert (Path(folder) / BEST_FILE).read_text(encoding="utf-8") == recipe
        content = (Path(folder) / "trials.csv").read_bytes().decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    for name in param_names(result):
        assert [row[f"param_{name}"] for row in rows] == [str(trial.params.get(name, "")) for trial in result.trials]


def test_every_kind_is_covered() -> None:
    assert {result.kind for result in RESULTS.values()} == set(KINDS)
