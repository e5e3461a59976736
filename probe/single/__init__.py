"""Training of one configuration, `probe.train`: train.py trains it, records.py holds its result."""
