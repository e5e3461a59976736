"""Worker processes: persistent children that run functions, and survive crashes of the user's code.

- `worker.py`: the parent's side, `Worker` and the events of its calls; the same call in several workers
- `death.py`: how a child died, and the likely cause
- `child.py`: the child's side, and the messages between the two; also runs calls in processes of another framework
- `process_state.py`: restores the settings of the process after each call
"""
