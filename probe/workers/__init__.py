"""Worker processes: persistent children that run functions, and survive crashes of the user's code.

- `worker.py`: the parent's side, `Worker` and the events of its calls; `pool.py`: the same call in several workers
- `child.py`: the child's side; also runs calls in processes of another framework
- `frames.py`: the messages between the two
- `process_state.py`: restores the settings of the process after each call
"""
