"""Facts of the device: what grows outside of the allocator and when, what cuBLAS and cuDNN keep, whether NVML agrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from gpu_session_stages.session import Session, first_line

MIB = 2**20


def run(session: Session) -> None:
    session.add("As probe opens the device", **session.in_new_process(opened, session.device))
    measure_growth(session)


def opened(device: str) -> dict[str, Any]:
    """In a new process: the device as probe finds it."""
    from probe.device.select import open_device, parse_device

    found = open_device(parse_device(device), measuring_memory=True)
    memory = found.memory
    return {
        "name": found.name,
        "offered_bytes": found.limit_bytes,
        **({} if memory is None else {name: value for name, value in asdict(memory).items() if name != "others"}),
        "workspace_bytes": found.workspace_bytes,
    }


def measure_growth(session: Session) -> None:
    """A row after each first: of the kernels, of a matrix product, of a convolution."""
    from probe.device import nvml

    index = torch.device(session.device).index or 0
    properties = torch.cuda.get_device_properties(index)
    device = torch.device("cuda", index)
    before_context = nvml.used_bytes(properties)
    session.add("Memory after each first", after="nothing: no context yet", used_by_nvml_bytes=before_context)
    kept = outside = 0
    for title, action in first_actions(device, small=session.small).items():
        problem = None
        try:
            action()
            torch.cuda.synchronize(device)
        except Exception as error:
            problem = f"{type(error).__name__}: {first_line(error)}"
        free, total = torch.cuda.mem_get_info(device)
        reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
        row = {
            "after": title,
            "used_by_nvml_bytes": nvml.used_bytes(properties),
            "used_by_mem_get_info_bytes": total - free,
            "reserved_bytes": reserved,
            "newly_kept_allocated_bytes": allocated - kept,
            "newly_outside_bytes": total - free - reserved - outside,
        }
        kept, outside = allocated, total - free - reserved
        session.add("Memory after each first", **row, problem=problem)


def first_actions(device: torch.device, *, small: bool) -> Mapping[str, Callable[[], object]]:
    size = 64 if small else 2048
    tensor = torch.ones
    network: list[nn.Module] = []

    def step(precision: str | None) -> None:
        """A training step of a small ResNet block, whose gradients are freed."""
        if not network:
            network.append(
                nn.Sequential(nn.Conv2d(3, 64, 7), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(2), nn.Linear(58 * 58, 10))
            )
            network[0].to(device)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = network[0](tensor(8, 3, 64, 64, device=device)).float().square().mean()
        torch.autograd.backward(loss)
        network[0].zero_grad(set_to_none=True)

    def on_second_stream() -> None:
        with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]  # not annotated by torch
            torch.mm(tensor(size, size, device=device), tensor(size, size, device=device))

    def attention() -> None:
        heads = tensor(2, 4, 256, 64, device=device, dtype=torch.bfloat16)
        nn.functional.scaled_dot_product_attention(heads, heads, heads)

    def convolution(*, benchmark: bool) -> None:
        with torch.backends.cudnn.flags(benchmark=benchmark):
            nn.functional.conv2d(tensor(8, 16, 64, 64, device=device), tensor(16, 16, 3, 3, device=device))

    return {
        "one value": lambda: torch.empty(1, device=device),
        "elementwise kernel": lambda: tensor(size, device=device) + 1,
        "sum": lambda: tensor(size, size, device=device).sum(),
        "matrix product, fp32 (cuBLAS)": lambda: torch.mm(
            tensor(size, size, device=device), tensor(size, size, device=device)
        ),
        "matrix product, bf16": lambda: torch.mm(*[tensor(size, size, device=device, dtype=torch.bfloat16)] * 2),
        "linear layer with bias (cuBLASLt)": lambda: nn.functional.linear(
            tensor(size, size, device=device), tensor(size, size, device=device), tensor(size, device=device)
        ),
        "matrix product on a second stream": on_second_stream,
        "convolution (cuDNN)": lambda: convolution(benchmark=False),
        "convolution with cudnn.benchmark": lambda: convolution(benchmark=True),
        "attention, bf16": attention,
        "training step, fp32 (autograd's thread)": lambda: step(None),
        "training step, bf16": lambda: step("bf16"),
        "the same again": lambda: step("bf16"),
        "emptying the cache": torch.cuda.empty_cache,
    }
