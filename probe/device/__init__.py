"""Devices: the memory that training uses, its limit, and a clock.

- `protocol.py`: what an open device offers
- `select.py`: the registry of device kinds and the functions of their modules; from `--device` to an open device; which GPU a
  child process sees
- `cpu.py`, `simulated.py`: devices on the host
- `accelerator.py`: GPUs of all kinds; `cuda.py`: what is known about CUDA devices alone; `nvml.py`: NVIDIA's library
- `failures.py`: which exceptions mean "out of memory", and calls that return it as a value
- `environment.py`: memory, cores and software of this machine

A kind of GPU that `torch.accelerator` supports needs only a line in `KINDS` of `select.py`. For any other device, write a
module with a class that implements `Device` and with the functions of `DeviceModule` (for a GPU: `GpuModule`), add its name to
`KINDS`, and subclass `DeviceConformance` in tests/device/test_device_conformance.py. If it raises errors of its own when it
runs out of memory, list their texts in `failures.py`.
"""
