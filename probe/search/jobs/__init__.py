"""Jobs of a search: the training of one rung of a trial and the final training, as workers run them.

jobs.py            what is sent to a worker and what comes back; imports no PyTorch
trial.py           training of a trial to its next rung
folds.py           means over the folds of k-fold validation
stopping.py        constraints, patience, and what follows from a lack of memory
costs.py           cost of epochs that leave no report
final_job.py       job and outcome of the final training; imports no PyTorch
final_training.py  the final training and the score on the test split
worker_calls.py    entry points that load PyTorch in the worker only
"""
