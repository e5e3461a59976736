"""From a search's file to what it had found: for a search that goes on, and for the report of one that did not."""

from __future__ import annotations

from dataclasses import replace

from probe.batch.records import BatchResult
from probe.loading.records import shared_test_samples
from probe.lr.records import LrResult
from probe.search.findings import Findings
from probe.search.jobs.final_job import FinalOutcome
from probe.search.storage.database import SearchDatabase
from probe.search.storage.stages import BATCH, FINAL, LOAD, PROBED, Probed, lr_stages
from probe.search.task_info import TaskInfo


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
    if (
        outcome is None
        or outcome.training is None
        or (outcome.training.seed, outcome.training.epochs) != (seed, epochs)
    ):
        return None
    return outcome


def with_history(outcome: FinalOutcome, database: SearchDatabase) -> FinalOutcome:
    """A new final fit, with what is known of its test part: the samples that it shares with others, and how often it had been
    scored for earlier winners."""
    facts, before = database.stage(LOAD, TaskInfo), database.stage(FINAL, FinalOutcome)
    earlier = 0 if before is None else before.num_test_reads
    if outcome.test is None:
        return replace(outcome, num_test_reads=earlier)
    num_shared = 0 if facts is None else shared_test_samples(facts.overlaps)
    test = replace(outcome.test, num_shared=num_shared, earlier_reads=earlier)
    return replace(outcome, test=test, num_test_reads=earlier + 1)
