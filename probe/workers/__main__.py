"""`python -m probe.workers`: one worker process. Started by probe.workers.worker.Worker, of no use by hand."""

from __future__ import annotations

from probe.workers.child import main

if __name__ == "__main__":
    main()
