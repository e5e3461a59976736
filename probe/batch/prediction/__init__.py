"""Predict memory without the device, by running the real training step on fake tensors that have shapes but no data.

`trace.py` runs the step, `recorder.py` records its allocations, and `fake_operators.py` and `shortcuts.py` give the results
of operators on fakes. `tracer.py` traces a task at any batch size. `build_memory_model.py` turns traces into a memory model
(`memory_model.py`) of two pure parts: `allocation_model.py` interpolates allocations between traced batch sizes, and
`allocator_simulation.py` simulates PyTorch's caching allocator. `predict.py` derives the largest batch for each GPU.
"""
