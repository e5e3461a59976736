"""Sections that every page of a report has: the note on a partial result, the settings, the environment."""

from __future__ import annotations

from collections.abc import Sequence

from probe.records import RunMeta
from probe.report.shared.markdown import code, code_cell, command, escape, fenced, image, page, table

CURVES_CAPTION = (
    "Loss and metrics by epoch: for training the mean over the epoch's batches, for validation after the epoch."
)


def partial_note(reason: str | None) -> str | None:
    """The note at the top of the page of a run that ended early."""
    return None if reason is None else f"> **Partial result:** {reason}"


def settings_block(meta: RunMeta, rows: Sequence[tuple[str, str]]) -> str:
    """The command line and `rows` of names and values, which are Markdown already."""
    typed = command(meta.argv)
    first = ("command", code_cell(typed)) if typed else ("called from", "Python")
    everything = [first, *rows, ("device", escape(meta.device)), ("seed", str(meta.seed))]
    return "## Settings\n\n" + table(["", ""], [[name, value] for name, value in everything])


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
    return f"<details><summary>{escape(summary)}</summary>\n\n{page(blocks).rstrip()}\n\n</details>"


def data_pointer(what: str, file: str = "result.json") -> str:
    """Where the complete data are."""
    return f"{what}: {code(file)}."


def loading_text(file: str) -> str:
    """The call that loads a weights file into a model; `load_model` handles tied weights, which are stored once."""
    return code(f'safetensors.torch.load_model(model, "{file}")')
