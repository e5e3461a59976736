"""Who makes the attempts and the prediction: a child process that is thrown away when one fails, or this process."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Protocol

from probe.batch.decide import Plan
from probe.batch.prediction.forecast import Cards
from probe.batch.prediction.memory_model import Profile, Untraceable
from probe.batch.records import Attempt
from probe.batch.session import Facts, Request, Session
from probe.errors import first_line
from probe.workers.process_state import complete
from probe.workers.worker import Worker, WorkerDied


class AttemptRunner(Protocol):
    """Makes attempts. Tests put a scripted one in its place."""

    def open(self) -> Facts:
        """Build the task and open the device. Raises what is wrong with them."""

    def profile(self, cards: Cards) -> Profile | Untraceable:
        """The memory that training takes, as a function of the batch size, traced with the sizes that matter for `cards`."""

    def run(self, plan: Plan) -> Attempt:
        """Try one size. Raises a ProbeError only for what has nothing to do with the size."""

    def close(self) -> None: ...


class ChildRunner:
    """One child serves attempts until one fails or meets an error: leaks, lost contexts and the host's OOM killer cannot hurt
    this process. Confirming attempts get a fresh child."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._worker: Worker | None = None
        self._is_fresh = True

    def open(self) -> Facts:
        self._worker = Worker(prepare=_import_training)
        facts: Facts = self._worker.call(_open_session, self._request)
        self._request = replace(self._request, device=facts.device, rankings=facts.rankings)
        self._is_fresh = True
        return facts

    def profile(self, cards: Cards) -> Profile | Untraceable:
        if self._worker is None:
            self.open()
        assert self._worker is not None  # `open` made it
        try:
            found: Profile | Untraceable = self._worker.call(_profile_in_session, cards)
        except WorkerDied as death:
            self.close()
            return Untraceable(reason=f"the process that traced the model died: {first_line(death)}")
        return found

    def run(self, plan: Plan) -> Attempt:
        if self._worker is not None and plan.purpose == "confirm" and not self._is_fresh:
            self.close()
        attempt: Attempt | None = None
        try:
            if self._worker is None:
                self.open()
            self._is_fresh = False
            assert self._worker is not None  # `open` made it
            attempt = self._worker.call(_run_in_session, plan)
        except WorkerDied as death:
            attempt = _lost(plan, death)
        finally:
            if attempt is None or not attempt.fits or attempt.traceback is not None:
                self.close()  # an error may have left the CUDA context unusable
        return attempt

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class InProcessRunner:
    """Attempts in this process, for tasks that cannot be sent to another one. What kills an attempt kills all of it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._session: Session | None = None

    def open(self) -> Facts:
        return self._opened().facts

    def profile(self, cards: Cards) -> Profile | Untraceable:
        return self._opened().profile(cards)

    def run(self, plan: Plan) -> Attempt:
        from probe.loading.random_state import random_state_kept

        session = self._opened()
        if session.device is None:
            return session.run(plan)
        with random_state_kept(session.device.torch_device):
            attempt = session.run(plan)
        if not attempt.fits:
            session.forget_failure()
        return attempt

    def close(self) -> None:
        self._session = None

    def _opened(self) -> Session:
        if self._session is None:
            self._session = Session(self._request)
        return self._session


_session: Session | None = None
"""In a child: what `_open_session` built, kept so that data is loaded once a process."""


def _open_session(request: Request) -> Facts:
    global _session
    _session = Session(request)
    complete()  # what the task sets when it is built holds for the attempts, which come in later calls
    return _session.facts


def _import_training() -> None:
    importlib.import_module("probe.batch.attempt")


def _profile_in_session(cards: Cards) -> Profile | Untraceable:
    return _opened_session().profile(cards)


def _run_in_session(plan: Plan) -> Attempt:
    return _opened_session().run(plan)


def _opened_session() -> Session:
    if _session is None:
        raise RuntimeError("no session was opened in this process")
    return _session


def _lost(plan: Plan, death: WorkerDied) -> Attempt:
    """A child that died took too much of the host's memory where it was killed with signal 9, and crashed otherwise."""
    killed = death.signal == 9
    message = "its process was killed, most likely by the system's out-of-memory killer" if killed else death.message
    return Attempt(
        batch_size=plan.batch_size,
        purpose=plan.purpose,
        outcome="host_oom" if killed else "crashed",
        message=message,
    )
