"""Devices: the memory that training uses, its limit, and a clock.

- `protocol.py`: what an open device offers
- `select.py`: the registry of device kinds and the functions of their modules; from `--device` to an open device
- `cpu.py`, `simulated.py`, `cuda.py`: the devices; `nvml.py`, `visible.py`: helpers of `cuda.py`
- `failures.py`, `guard.py`: which exceptions mean "out of memory"
- `memory.py`, `environment.py`: memory, cores and software of this machine

To add a device, write a module with a class that implements `Device` and with the functions of `DeviceModule` (for a GPU:
`GpuModule`), add its name to `KINDS` in `select.py`, and subclass `DeviceConformance` in
tests/device/test_device_conformance.py. If it raises errors of its own when it runs out of memory, list their texts in
`failures.py`.
"""
