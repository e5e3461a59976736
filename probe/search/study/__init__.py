"""The loop of a search and its state, which changes by events only.

study.py             the loop: start jobs on free slots, handle their reports, decide what runs next
events.py            the five kinds of event
state.py, trial.py   the trials and the scheduler that follow from the events
plan.py              the settings of one study, its hooks, and the protocol of proposers
budget.py            what may still be spent, and whether a new trial or a promotion comes next
tried.py             which configurations were tried, and alternatives to a repeated one
kept_checkpoints.py  which checkpoints are kept, and how many there will be
snapshots.py         results and progress records from the state
utilization.py       how much of the slots' time jobs used
"""
