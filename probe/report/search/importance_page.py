"""Which hyperparameters matter, as a paragraph of a search's report."""

from __future__ import annotations

from probe.report.search.summary import importance_text
from probe.report.shared.markdown import escape, sentence
from probe.search.records.search import SearchResult

_SHARES_NOTE = (
    "Shares are of the variation of the trials' ranks after the first rung, beyond what chance explains. Hyperparameters "
    "without a share do not stand out in a permutation test with a false-alarm probability of 5 % over all of them."
)
_PARTIAL_NOTE = (
    "A hyperparameter that only some trials have is tested among these, after the effect of what its condition asks about is "
    "removed, and its share is of their variation alone: it says how much that hyperparameter matters where it exists, and "
    "does not add up with the others."
)


def importance_paragraph(result: SearchResult) -> str | None:
    """What stands out above chance, and how that was tested."""
    told = importance_text(result)
    if told is None:
        return None
    found = (result.importance or {}).values()
    notes = [_SHARES_NOTE] * bool(found) + [_PARTIAL_NOTE] * any(one.is_partial for one in found)
    return " ".join([escape(sentence(told)), *notes])
