"""The records of a search: plain frozen dataclasses, written to result.json and shown by reports.

search.py        the result of a search, its trials and its live progress
measurements.py  what jobs measure; a new measurement of a trial is declared here
objective.py     the objective: a metric, its direction, and how a trial's value follows from its epochs
cluster.py       where a search ran and how well its slots were used
comparison.py    the result of `probe compare`
"""
