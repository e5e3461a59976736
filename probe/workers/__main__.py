"""`python -m probe.workers`: a worker process. Started by probe.workers.worker.Worker, not by hand."""

from __future__ import annotations

from probe.workers.child import main

if __name__ == "__main__":
    main()
