"""The machine, the process and the Python that run the program. The lowest room: it imports nothing of probe.

cleanup.py       clean-up after an error
gpu_errors.py    errors after which a process cannot use its GPU any more
host_memory.py   memory of the machine, within the limits of its container
interrupts.py    signals that ask the process to end
module_names.py  what the name of a module stands for, and the order in which modules are searched for
"""
