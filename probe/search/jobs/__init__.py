"""Jobs of a search: the training of one rung of a trial and the final training, as workers run them.

jobs.py              jobs for workers (rungs and the final training) and their reports; imports no PyTorch
checkpoint_files.py  names of checkpoints, and which training each belongs to
trial.py             training of a trial to its next rung
folds.py             means over the folds of k-fold validation
stopping.py          constraints, patience, and what follows from a lack of memory
final_training.py    the final training and the score on the test split
worker_calls.py      entry points that load PyTorch in the worker only
"""
