"""What the three reports share: how metrics are written, what was asked, the environment, the note on partial results."""

from __future__ import annotations

from collections.abc import Sequence

from probe.records import RunMeta
from probe.report.shared.markdown import code, code_cell, command, escape, table
from probe.search.records.search import Score
from probe.units import format_count, format_percent, format_value

CURVES_CAPTION = (
    "Loss and metrics by epoch: of training the mean over the epoch's batches, of validation after the epoch."
)
ParamValue = bool | int | float | str


def metric_text(name: str, value: float) -> str:
    """An accuracy between 0 and 1 in percent, any other metric with four figures."""
    return format_percent(value) if "accuracy" in name and 0 <= value <= 1 else format_value(value)


def baseline_text(score: Score | None, mode: str) -> str:
    """How a test score compares: `, 33.0 % below the 4.8 of the naive forecast (last value)`; empty without a baseline.

    In percent of the baseline's where less is better, as of an error; other metrics are put side by side.
    """
    if score is None or score.baseline is None:
        return ""
    name, value = score.baseline.name, score.baseline.value
    other = f"the {metric_text(score.metric, value)} of the {name}"
    if mode != "min" or value <= 0 or score.value < 0:
        return f", against {other}"
    change = score.value / value - 1
    return f", {format_percent(abs(change), decimals=1)} {'below' if change <= 0 else 'above'} {other}"


def test_note(score: Score) -> str:
    """What the samples of a search's test score were used for before it: `never used before`."""
    told = []
    if score.num_shared:
        told.append(f"of which {format_count(score.num_shared)} are training or validation samples, too")
    if score.earlier_reads:
        told.append(f"scored {_times(score.earlier_reads)} before, for earlier winners")
    return ", ".join(told) or "never used before"


def test_trust(score: Score) -> str:
    """How far a search's test score can be trusted: the second half of a sentence on optimistic figures."""
    if score.num_shared:
        return (
            f"the test figure may be, too, because {format_count(score.num_shared)} of its samples are training or validation "
            "samples."
        )
    if score.earlier_reads:
        return (
            f"the test figure may be a little, too, because the test part had been scored {_times(score.earlier_reads)} "
            "before the search was continued with a larger budget."
        )
    return "the test figure is not, because the test part was read once, after every decision."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{format_count(count)} times"


def asked_block(meta: RunMeta, rows: Sequence[tuple[str, str]]) -> str:
    """What was asked for: the command line and then `rows` of name and value, which is Markdown already."""
    typed = command(meta.argv)
    told = [("command", code_cell(typed)) if typed else ("called from", "Python")]
    told += [*rows, ("device", escape(meta.device)), ("seed", str(meta.seed))]
    return "## What was asked\n\n" + table(["", ""], [[name, value] for name, value in told])


def environment_block(meta: RunMeta) -> str:
    """The table at the end of every report: what a reader needs to judge whether their numbers should agree."""
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


def partial_note(reason: str | None) -> str | None:
    """The first thing a reader sees where a run ended early."""
    return None if reason is None else f"> **Partial result:** {reason}"


def data_pointer(what: str, file: str = "result.json") -> str:
    return f"{what}: {code(file)}."


def loading_text(file: str) -> str:
    """How to get a weights file into a model, as code: tied weights are stored once, which `load_model` knows about."""
    return code(f'safetensors.torch.load_model(model, "{file}")')
