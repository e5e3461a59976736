"""From a search's file to what it had found: for a search that goes on, and for the report of one that did not."""

from __future__ import annotations

from dataclasses import replace

from probe.batch.records import BatchResult
from probe.lr.records import LrResult
from probe.search.database import SearchDatabase
from probe.search.final_job import FinalOutcome
from probe.search.findings import Findings
from probe.search.stages import BATCH, FINAL, PROBED, Probed, lr_stages


def restore_probes(found: Findings, database: SearchDatabase) -> bool:
    """What the probes found before; whether they were all done, so that trials could begin."""
    found.batch_probe = database.stage(BATCH, BatchResult)
    probes = {name: database.stage(stage, LrResult) for name, stage in lr_stages(database.stage_names()).items()}
    found.lr_probes = {name: probe for name, probe in probes.items() if probe is not None}
    probed = database.stage(PROBED, Probed)
    if probed is None:
        return False
    found.space, found.sampler, found.sampler_reason = probed.space, probed.sampler, probed.sampler_reason
    found.probe_epochs = probed.probe_epochs
    found.warnings += probed.warnings
    found.meta = replace(found.meta, device=probed.device_name)
    return True


def restore_final(database: SearchDatabase, *, seed: int, epochs: int) -> FinalOutcome | None:
    """The final fit, where it was made of this winner for this many epochs."""
    outcome = database.stage(FINAL, FinalOutcome)
    if outcome is None or outcome.fit is None or (outcome.fit.seed, outcome.fit.epochs) != (seed, epochs):
        return None
    return outcome
