"""Before any test imports torch: one thread a process, and idle ones asleep, so that parallel tests do not fight; and
Ctrl-C ends what they start."""

from __future__ import annotations

import os
import signal

pytest_plugins = ["cli_tools"]

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
