"""The search for hyperparameters: `probe search` and `probe.find_hyperparameters`.

find.py                 the public function; checks the request and opens backend, session and executor
flow.py                 the stages of a search, one after the other
settings.py, plans.py   the settings of a search, and the plan or job of each stage
lr_probe.py, batch_probe.py  the probes of learning rate and batch size
results.py              what the stages have found, and the SearchResult made from it
session.py, resume.py   one process's work on a search, and what may change when it is resumed
stored_result.py        result and curve from the stored events, also of a search that was killed or still runs
checks.py, task_info.py  checks of recipe and task before anything is spent
backends.py             where jobs run: this machine or a Ray cluster
proposers.py            the registry of what proposes trials after the sampler

Folders: space/ samplers/ schedulers/ (what to try), study/ (the loop of trials), jobs/ (what workers run), executors/
(who runs them), hypergradient/ (refinement by gradients), storage/, records/, analysis/, compare/.
"""
