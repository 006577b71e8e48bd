"""Whether the live worker takes jobs.

A test that calls a job itself and looks at what it did must not race the live worker, which other tests' jobs, signals and polls
keep busy with the same rows. The worker keeps running, but takes no jobs from its queue.
"""
import time
from typing import Any, Optional

from dev.sandbox.stack import OWN_QUEUE, Stack
from tests.support.waiting import until

QUEUES = ("celery", OWN_QUEUE)
#: Seconds to wait for what the worker has in hand.
PATIENCE = 120.0


class Consuming:
    """Switches the consumption of one stack's worker off and on again; a worker that was started anew consumes."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._paused_pid: Optional[int] = None

    def _worker_pid(self) -> Optional[int]:
        worker = self._stack.services.get("worker")
        return worker.pid if worker is not None and worker.running() else None

    def pause(self) -> None:
        """Returns once the worker, if one runs, has nothing in hand and takes nothing more."""
        pid = self._worker_pid()
        if pid is None or pid == self._paused_pid:
            return
        for queue in QUEUES:
            self._ask("cancel_consumer", queue=queue)
        until(lambda: not any(self._ask("active")), PATIENCE, says=lambda: f"the end of {self._ask('active')}")
        self._paused_pid = pid

    def resume(self) -> None:
        """The worker takes jobs again, but none that were queued meanwhile: nobody waits for those."""
        if self._paused_pid is None:
            return
        if self._paused_pid == self._worker_pid():
            self.drop_queued()
            for queue in QUEUES:
                self._ask("add_consumer", queue=queue)
        self._paused_pid = None

    @staticmethod
    def drop_queued() -> None:
        """No job waits any more."""
        from worker.tasks import redis_client

        redis_client.delete(*QUEUES)

    def _ask(self, command: str, **arguments: Any) -> "list[Any]":
        """The worker's answer to a remote control command."""
        from worker.celery import app

        end = time.monotonic() + PATIENCE
        while True:
            answers = app.control.broadcast(command, arguments=arguments, destination=["worker@sandbox"], reply=True, timeout=10, limit=1)
            if answers:
                return list(answers[0].values())
            assert time.monotonic() < end, f"the worker did not answer to {command}"
