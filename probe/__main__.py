"""`python -m probe` is `probe`."""

from __future__ import annotations

from probe.cli.main import main

if __name__ == "__main__":
    main()
