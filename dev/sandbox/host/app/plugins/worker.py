"""Celery for plugins without a task module: source text goes through the queue, and the worker runs it."""
import inspect

from webodm import settings
from worker.celery import app

task = app.task


def run_function_async(func, *args, **kwargs):
    """Runs a function in a worker; it must import whatever it needs in its own body."""
    return eval_async.delay(inspect.getsource(func), func.__name__, *args, **kwargs)


@app.task(bind=True, time_limit=settings.WORKERS_MAX_TIME_LIMIT)
def eval_async(self, source, funcname, *args, **kwargs):
    """Compiles ``source`` and calls ``funcname`` of it; ``with_progress`` gives it a ``progress_callback``."""
    namespace = {}
    exec(compile(source, "file", "exec"), namespace)  # noqa: S102 (this is what WebODM does)
    if kwargs.pop("with_progress", False):

        def progress_callback(status, perc):
            self.update_state(state="PROGRESS", meta={"status": status, "progress": perc})

        kwargs["progress_callback"] = progress_callback
    return namespace[funcname](*args, **kwargs)
