"""The part of a search's report that is about its gradient steps."""

from __future__ import annotations

from probe.report.search.refinement_summary import refinement_facts, refinement_text, step_rows, truncation_text
from probe.report.shared.markdown import escape, table
from probe.search.records.search import SearchResult

_READING = (
    "A step goes against the gradient of the validation loss, which was differentiated through the unrolled training of the "
    "trial it starts from; its length is that of its largest coordinate, as a share of the range on its own scale. All steps "
    "have the first one's initial weights and batches, so that differences are those of the hyperparameters, and what was "
    "gained is partly fitted to that seed and this validation part: the test score has seen neither."
)


def refinement_blocks(result: SearchResult) -> list[str]:
    """Empty where no step was made."""
    facts = refinement_facts(result)
    if facts is None:
        return []
    header, rows = step_rows(facts)
    cells = [[escape(cell) for cell in row] for row in rows]
    blocks = ["### Gradient steps", f"{escape(refinement_text(facts))}.", _READING]
    cut = truncation_text(facts)
    blocks += [escape(cut)] if cut else []
    return [*blocks, table([escape(name) for name in header], cells, right=range(len(header) - 1))]
