"""`python -m probe`: the same as the command `probe`."""

from __future__ import annotations

from probe.cli.main import main

if __name__ == "__main__":
    main()
