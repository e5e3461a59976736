"""Find the learning rate of a training run: `find_lr` runs range tests and, if asked to, confirms them by short runs.

- `find`: the public function; `compare`: the same for several optimizers or batch sizes.
- `plan`: lengths of the planned training, the range tests and the runs.
- `range_test`: one range test; `measure`: all measurements of a probe.
- `curve` and `suggest`: from the losses of range tests to a learning rate; `confirm`: from the losses of runs to one.
- `other_finders`: the learning rates that other finders would pick.
- `records`: the results.
"""
