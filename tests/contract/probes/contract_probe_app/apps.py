"""A Django application that notes where it is made ready and which signals on tasks it gets."""
import json
import os

from django.apps import AppConfig


def note(name, **values):
    """Adds a line to the probes' log in the media directory."""
    from django.conf import settings

    directory = os.path.join(settings.MEDIA_ROOT, "contract_log")
    os.makedirs(directory, exist_ok=True)
    with open("/proc/self/cmdline", "rb") as stream:
        values["cmdline"] = stream.read().decode().split("\0")
    with open(os.path.join(directory, name), "a") as stream:
        stream.write(json.dumps(dict(values, pid=os.getpid())) + "\n")


class ProbeConfig(AppConfig):
    """Listed by its dotted path."""

    name = "contract_probe_app"
    label = "contract_probe_app"

    def ready(self):
        """Connects receivers and adds an entry to WebODM's schedule."""
        from app.plugins import signals
        from worker.celery import app

        note("ready")
        for name in ("task_completed", "task_failed", "task_removing", "task_removed"):
            getattr(signals, name).connect(self._receiver(name), dispatch_uid="contract-" + name, weak=False)
        app.conf.beat_schedule["contract-probe"] = {"task": "contract_probe_app.tasks.tick", "schedule": 1}

    @staticmethod
    def _receiver(name):
        def receive(sender, task_id, **kwargs):
            note("signals", signal=name, task=str(task_id))

        return receive
