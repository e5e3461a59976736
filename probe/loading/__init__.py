"""Data of a task as batches: from tensors or data sets to batches on a device, with their splits and fingerprints.

batch.py, trees.py           a batch, and functions on nested tensors
dataset.py                   data as rows of tensors if possible
caches.py                    cached samples and derived values
epoch_batches.py             the batches of an epoch
loader_workers.py            processes that read samples
copies_ahead.py              copies to a GPU while the batch before is in use
validation.py                validation splits and subsets of training samples
fingerprints.py, overlap.py  changed data, and samples that splits share
random_state.py              seeding, saving and restoring of random generators
records.py                   records of data; imports no PyTorch
"""
