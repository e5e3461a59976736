"""Markdown in GitHub's dialect: escaping, tables, the rendering of a summary, and the sections that every page has.

Every text that comes from users or libraries is escaped here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from urllib.parse import quote

from probe.printable import one_line, printable, shell_line
from probe.records import RunMeta
from probe.report.shared.summary import Line, Summary, Table
from probe.report.shared.wording import NONE, sentence

_CODE = re.compile("(?<!`)(`[^`]+`)(?!`)")
_SPECIAL = re.compile(r"[\\`*_\[\]|~#$@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""What is markup anywhere in a line, addresses included, which GitHub turns into links. Angle brackets become entities, because
not every renderer lets a backslash escape them."""
_LIST_ITEM = re.compile(r"^([0-9]{1,9}(?=[.)](?:\s|$))|(?=[-+](?:\s|$)|-[-\s]*$))")
"""The start of a line that would be an item of a list or a rule, up to its mark."""


def escape(text: str) -> str:
    """`text` on one line without markup: it is shown as it is, cannot end a table cell and starts no list."""
    line = _escape_inline(one_line(text))
    return line if line == NONE else _LIST_ITEM.sub(r"\1\\", line)


def prose(text: str) -> str:
    """Like `escape`, but keep what is in backquotes as code."""
    parts = _CODE.split(one_line(text))
    line = "".join(part if number % 2 else _escape_inline(part) for number, part in enumerate(parts))
    return _LIST_ITEM.sub(r"\1\\", line)


def _escape_inline(text: str) -> str:
    return html.escape(_SPECIAL.sub(r"\\\g<0>", text), quote=False)


def code(text: str) -> str:
    """`text` as inline code on one line, also inside a table."""
    line = one_line(text)
    if not line:
        return ""
    fence = _fence(line)
    padding = " " if "`" in line else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def code_cell(text: str) -> str:
    """Inline code for a table cell, where GitHub splits the row at every bar; text with an escaped bar cannot be code."""
    return escape(text) if r"\|" in text else code(text).replace("|", r"\|")


def fenced(text: str, language: str = "") -> str:
    """A block of code, fenced so that backticks in `text` cannot end it."""
    fence = _fence(text, least=3)
    return f"{fence}{language}\n{printable(text).rstrip()}\n{fence}"


def link(file: str) -> str:
    """A link to a file in the folder of the page: its name cannot be an address."""
    return f"[{escape(file)}]({quote(file, errors='replace')})"


def _fence(text: str, least: int = 1) -> str:
    """More backticks than `text` has in a row."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A table of cells that are already Markdown; the columns numbered in `right` are aligned right."""
    rules = ["---:" if column in right else "---" for column in range(len(header))]
    lines = [header, rules, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def text_table(content: Table) -> str:
    """A table of plain text."""
    rows = [[escape(cell) for cell in row] for row in content.rows]
    return table(list(map(escape, content.header)), rows, right=range(content.num_left, len(content.header)))


def answer_block(summary: Summary) -> str:
    """The answer in bold."""
    return f"**{escape(sentence(summary.answer))}**"


def summary_blocks(summary: Summary, *, without: Sequence[str] = ()) -> list[str]:
    """The answer in bold, then each label with its texts and tables, except the labels in `without`."""
    blocks = [answer_block(summary)]
    for label, contents in _by_label(summary.lines):
        if label not in without:
            blocks += _labelled_blocks(label, contents)
    return blocks


def _by_label(lines: Sequence[Line]) -> list[tuple[str, list[str | Table]]]:
    groups: list[tuple[str, list[str | Table]]] = []
    for label, content in lines:
        if label or not groups:
            groups.append((label, []))
        groups[-1][1].append(content)
    return groups


def _labelled_blocks(label: str, contents: list[str | Table]) -> list[str]:
    """`**Label:** text` for one text, bullets for several; tables, and what continues the answer, are blocks of their own."""
    if not label:
        return [escape(sentence(one)) if isinstance(one, str) else text_table(one) for one in contents]
    texts = [escape(sentence(content)) for content in contents if isinstance(content, str)]
    tables = [text_table(content) for content in contents if isinstance(content, Table)]
    head = f"**{escape(label)}:**"
    if len(texts) == 1:
        return [f"{head} {texts[0]}", *tables]
    return [head, *([bullets(texts)] if texts else []), *tables]


def image(file: str, caption: str) -> str:
    """An image; the caption is its alternative text."""
    return f"![{escape(caption)}]({quote(file)})"


def bullets(items: Sequence[str]) -> str:
    """A list of items that are already Markdown."""
    return "\n".join(f"- {item}" for item in items)


def page(blocks: Sequence[str | None]) -> str:
    """Join blocks of Markdown into one text, without those that are None or empty."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def command(argv: Sequence[str]) -> str | None:
    """The command line as it can be typed again, without the program's path; None if there was none."""
    if not argv:
        return None
    program = re.split(r"[\\/]", argv[0])[-1]
    is_ours = program in ("probe", "probe.exe", "__main__.py")
    if program in ("batch", "lr", "search"):
        return shell_line(["probe", *argv])
    return shell_line(["probe" if is_ours else program, *argv[1:]])


IN_SETTINGS = ("Task", "Device")
"""Labels of a summary whose content the settings show."""
CURVES_CAPTION = (
    "Loss and metrics by epoch: for training the mean over the epoch's batches, for validation after the epoch."
)


def result_page(title: str, meta: RunMeta, blocks: Sequence[str | None], *, partial: str | None = None) -> str:
    """A whole page: title, why the result is partial (if it is), the blocks, and the environment."""
    note = None if partial is None else f"> **Partial result:** {partial}"
    return page([f"# {title}", note, *blocks, environment_block(meta)])


def settings_block(meta: RunMeta, rows: Sequence[tuple[str, str]]) -> str:
    """The command line and `rows` of names and values, which are Markdown already."""
    typed = command(meta.argv)
    first = ("command", code_cell(typed)) if typed else ("called from", "Python")
    everything = [first, *rows, ("device", escape(meta.device)), ("seed", str(meta.seed))]
    return "## Settings\n\n" + table(["", ""], everything)


def environment_block(meta: RunMeta) -> str:
    """The last section: what readers need to judge whether their numbers should agree."""
    rows = [
        ("started", meta.started_at),
        ("device", meta.device),
        ("probe", meta.probe_version),
        ("PyTorch", meta.torch_version),
        ("CUDA", meta.cuda_version or "not used"),
        ("driver", meta.driver_version or "not used"),
        ("Python", meta.python_version),
        ("platform", meta.platform),
        ("CPU threads", str(meta.num_threads)),
        ("seed", str(meta.seed)),
        ("recipe hash", meta.recipe_hash or "no recipe"),
    ]
    return "## Environment\n\n" + table(["", ""], [[name, escape(value)] for name, value in rows])


def reproduce_blocks(meta: RunMeta, recipe: str) -> list[str]:
    """How to run it again: the command line and the recipe as it ran."""
    typed = command(meta.argv)
    if typed is None:
        return ["## Reproduce", "The run was started from Python with this recipe:", fenced(recipe, "toml")]
    how = "The recipe as it ran, with the changes of the command line:"
    return ["## Reproduce", fenced(typed, "sh"), how, fenced(recipe, "toml")]


def plot_block(plots: Sequence[str], file: str, caption: str) -> str | None:
    """The plot `file` with its caption; None if it was not drawn."""
    return image(file, caption) if file in plots else None


def folded(summary: str, blocks: Sequence[str | None]) -> str:
    """Blocks that are hidden until a reader opens them."""
    return f"<details><summary>{html.escape(summary)}</summary>\n\n{page(blocks).rstrip()}\n\n</details>"


def loading_text(file: str) -> str:
    """The call that loads a weights file into a model; `load_model` handles tied weights, which are stored once."""
    return code(f'safetensors.torch.load_model(model, "{file}")')
