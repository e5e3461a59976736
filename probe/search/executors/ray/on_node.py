"""What a node of a Ray cluster runs for a search: its calls, and the look at the node before the first of them. No Ray here,
but for the node's own name."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from probe.search.executors.local import prepare_worker
from probe.version import VERSION
from probe.workers.child import stream_call
from probe.workers.frames import decode, encode
from probe.workers.process_state import begin


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How a node runs a call as this process would."""

    version: str = VERSION
    folder: str = field(default_factory=os.getcwd)
    """What relative paths are relative to, where the node sees it."""
    paths: tuple[str, ...] = field(default_factory=lambda: user_paths(sys.path))
    """Where the user's own modules are found."""
    num_threads: int
    """PyTorch's."""
    prepare: Callable[[], object] | None = None
    """Run in every process before its first call, after the imports."""


def run_on_node(terms: CallOptions, payload: bytes) -> Iterator[bytes]:
    """The encoded (function, args, kwargs) as frames of `probe.workers.stream`. The first frame is (id of the node, version of
    its probe); it is the only one where that is another than the caller's."""
    import ray

    yield encode((ray.get_runtime_context().get_node_id(), VERSION))
    if terms.version == VERSION:
        yield from stream_call(encode((_on_terms, (terms, payload), {})))


def _on_terms(terms: CallOptions, payload: bytes) -> Any:
    if os.path.isdir(terms.folder):
        os.chdir(terms.folder)
    sys.path[:] = [*terms.paths, *(path for path in sys.path if path not in terms.paths)]
    import torch

    torch.set_num_threads(terms.num_threads)
    begin(partial(prepare_worker, terms.prepare))
    function, args, kwargs = decode(payload)
    return function(*args, **kwargs)


def probe_node(probe_file: str | None, token: str, version: str, first_call: bytes | None) -> Mapping[str, Any]:
    """`facts`, all of NodeFacts but what Ray knows better; `gpu_bytes` of the smallest GPU, or None; `sees_storage`;
    `end_of_first_call`, its last frame. A mapping, so that every version of probe can read it.

    Args:
        probe_file: In the storage, holding `token`, where this node sees the storage as the driver does.
        version: Of the caller's probe.
        first_call: (terms, payload), encoded, for `run_on_node`: what the node is to run before it gets work. It is not run by
            another version.
    """
    from probe.device.environment import torch_versions
    from probe.device.nvml import driver_version, gpu_sizes

    torch_version, cuda_version = torch_versions()
    gpus = gpu_sizes()
    frames = [] if first_call is None or version != VERSION else [*run_on_node(*decode(first_call))]
    return {
        "facts": {
            "name": socket.gethostname(),
            "probe_version": VERSION,
            "python_version": platform.python_version(),
            "torch_version": torch_version,
            "cuda_version": cuda_version,
            "driver_version": driver_version(),
            "platform": platform.platform(),
            "gpu_names": tuple(name for name, _ in gpus),
        },
        "gpu_bytes": min((size for _, size in gpus), default=None),
        "sees_storage": probe_file is not None and sees_storage(Path(probe_file), token),
        "end_of_first_call": frames[-1] if frames else None,
    }


def sees_storage(probe_file: Path, token: str) -> bool:
    """Whether it is there as it was written, and its folder can be written to."""
    answer = probe_file.with_name(f"{probe_file.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        if probe_file.read_text(encoding="utf-8") != token:
            return False
        answer.write_text(token, encoding="utf-8")
        answer.unlink()
    except OSError:
        return False
    return True


def user_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """Without Python's own and its packages', which every node has of itself."""
    own = {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix)}
    found = [str(Path(path or ".").absolute()) for path in paths]
    return tuple(path for path in found if not any(Path(path).resolve().is_relative_to(place) for place in own))
