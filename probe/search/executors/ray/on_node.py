"""The code that runs on the nodes of a Ray cluster: probes of the node, and calls. Imports Ray only for the node's id."""

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
from probe.workers.child import decode, encode, stream_call
from probe.workers.process_state import begin


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How a node runs a call, so that it runs as in this process."""

    version: str = VERSION
    folder: str = field(default_factory=os.getcwd)
    """Working directory of the call, if the node has it."""
    paths: tuple[str, ...] = field(default_factory=lambda: user_paths(sys.path))
    """Folders of the user's own modules."""
    num_threads: int
    """Number of PyTorch threads."""
    prepare: Callable[[], object] | None = None
    """Called in every process after its imports, before its first call."""


def run_on_node(options: CallOptions, payload: bytes) -> Iterator[bytes]:
    """Run the encoded (function, args, kwargs), and yield the frames of `probe.workers.stream`.

    The first frame is (id of the node, version of its probe). If the version is not the caller's, the function is not run.
    """
    import ray

    yield encode((ray.get_runtime_context().get_node_id(), VERSION))
    if options.version == VERSION:
        yield from stream_call(encode((_run_with_options, (options, payload), {})))


def _run_with_options(options: CallOptions, payload: bytes) -> Any:
    if os.path.isdir(options.folder):
        os.chdir(options.folder)
    sys.path[:] = [*options.paths, *(path for path in sys.path if path not in options.paths)]
    import torch

    torch.set_num_threads(options.num_threads)
    begin(partial(prepare_worker, options.prepare))
    function, args, kwargs = decode(payload)
    return function(*args, **kwargs)


def probe_node(probe_file: str, token: str, version: str, first_call: bytes | None) -> Mapping[str, Any]:
    """Describe this node, and make its first call.

    Args:
        probe_file: a file in the folder of checkpoints, which contains `token` if this node sees the folder.
        token: the content of that file.
        version: the caller's version of probe.
        first_call: (options, payload), encoded, for `run_on_node`: the call that the node makes before it gets jobs. It is not
            made by another version of probe.

    Returns:
        A mapping, so that every version of probe can read it: `info`, the fields of NodeInfo that Ray does not know;
        `gpu_bytes`, the memory of the smallest GPU, or None; `sees_storage`; `end_of_first_call`, its last frame, or None.
    """
    from probe.device.environment import torch_versions
    from probe.device.nvml import driver_version, gpu_sizes

    torch_version, cuda_version = torch_versions()
    gpus = gpu_sizes()
    frames = [] if first_call is None or version != VERSION else [*run_on_node(*decode(first_call))]
    return {
        "info": {
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
        "sees_storage": sees_storage(Path(probe_file), token),
        "end_of_first_call": frames[-1] if frames else None,
    }


def sees_storage(probe_file: Path, token: str) -> bool:
    """Whether `probe_file` contains `token`, and its folder can be written to."""
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
    """The absolute `paths` without those of Python and its installed packages, which every node has itself."""
    own = {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix)}
    found = [str(Path(path or ".").absolute()) for path in paths]
    return tuple(path for path in found if not any(Path(path).resolve().is_relative_to(place) for place in own))
