"""Find the samples that make the largest batches, so that a batch size that fits with them fits with all samples.

`sample_size.py` measures one sample of any type, `ranking.py` orders samples by their measures (pure), and `task_samples.py`
does both for the splits of a task and loads chosen samples as a batch.
"""
