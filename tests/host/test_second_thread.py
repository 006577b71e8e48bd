"""Jobs are queued from any thread of a web server: Celery's `current_app` is another one in each thread."""
import json
import subprocess
import sys
import uuid

import pytest

from dev.sandbox.stack import HOST_DIR

PROGRAM = """
import django, sys, threading
django.setup()
from app_extensions.openscan.dispatch import dispatch
from app_extensions.host.celery_app import send
from worker.tasks import redis_client
queue, failures = sys.argv[1], []

def work():
    try:
        assert dispatch("deliver_mails")
        send("app_extensions.openscan.tasks.catch_up", queue=queue)
    except BaseException as problem:
        failures.append(problem)

thread = threading.Thread(target=work)
thread.start()
thread.join()
if failures:
    raise failures[0]
for text in redis_client.lrange(queue, 0, -1):
    print(text.decode())
"""


@pytest.mark.parametrize("settings_name", ["WO_OPENSCAN_CELERY_QUEUE"])
def test_a_job_sent_in_a_second_thread_is_in_webodms_broker(ground, settings_name):
    queue = f"thread-{uuid.uuid4().hex}"
    done = subprocess.run([sys.executable, "-c", PROGRAM, queue], env={**ground.environment(), settings_name: queue}, cwd=HOST_DIR,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    names = sorted(json.loads(line)["headers"]["task"] for line in done.stdout.splitlines())
    assert names == ["app_extensions.openscan.tasks.catch_up", "app_extensions.openscan.tasks.deliver_mails"]
