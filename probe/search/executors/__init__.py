"""Executors run the jobs of a search: rungs of trials, probes, and the final training.

`protocol` says what a search needs of an executor. `local` runs jobs in worker processes of this machine; `ray/` runs them
on a Ray cluster. `slots` spreads slots over GPUs and decides which trials may share one; `gpu_packing` makes those decisions
for a running search, from the predicted memory of each trial. `job_reports` says what became of a job whose worker failed.
"""
