"""`python -m probe`: the same as the command `probe`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

with suppress(FileNotFoundError):  # the folder was removed
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():
        # `python -m` puts the working folder first: files of the user would replace modules of Python and of libraries.
        del sys.path[0]

from probe.cli.main import main

if __name__ == "__main__":
    main()
