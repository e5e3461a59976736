"""Find the learning rate of a training run: `find_lr` runs range tests and, if asked to, confirms them by short runs.

- `find`: the public function, and the same for several optimizers or batch sizes.
- `plan`: lengths of the planned training, the range tests and the runs; `measure`: range tests and runs.
- `runner`: measurements in this process or, on a GPU, in a child process; `context`: the task and the device there.
- `curve` and `suggest`: from the losses of range tests to a learning rate, probe's and that of other finders; `confirm`: from
  the losses of runs to one.
- `records`: the results.
"""
