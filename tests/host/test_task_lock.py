"""WebODM's lock on a task: given back by its owner and by nobody else, on the real Redis."""
import time
import uuid

import pytest

from app_extensions.host import processing
from app_extensions.host.processing import redis_client, task_lock
from tests.support.waiting import until


@pytest.fixture
def task_id(ground):
    return uuid.uuid4()


def key(task_id) -> str:
    return f"task_lock_{task_id}"


def forget(task_id) -> None:
    """What Redis does with both keys once half a minute has passed without a renewal."""
    redis_client.delete(key(task_id), f"app_extensions:task_lock_owner:{task_id}")


def test_it_is_held_and_given_back(task_id):
    with task_lock(task_id) as lock:
        assert lock and redis_client.exists(key(task_id))
        with task_lock(task_id) as other:
            assert not other
        assert lock, "the one that did not get it must not take it away"
    assert not redis_client.exists(key(task_id))


def test_webodms_own_attempts_do_not_keep_it_from_being_given_back(task_id):
    """A poll overwrites the value, goes away, and leaves a lock without an end."""
    with task_lock(task_id) as lock:
        redis_client.getset(key(task_id), time.time())
        assert lock and lock.renew()
        redis_client.getset(key(task_id), time.time())
    assert not redis_client.exists(key(task_id))


def test_a_lock_that_webodm_took_over_is_left_alone(task_id):
    with task_lock(task_id) as lock:
        forget(task_id)
        redis_client.getset(key(task_id), "12345")
        assert not lock and not lock.renew()
    assert redis_client.get(key(task_id)) == b"12345"
    redis_client.delete(key(task_id))


def test_a_lock_that_another_of_ours_took_over_is_left_alone(task_id):
    with task_lock(task_id) as lock:
        forget(task_id)
        with task_lock(task_id) as later:
            lock.give_back()
            assert later and not lock and redis_client.exists(key(task_id))


def test_one_of_ours_is_not_taken_for_left_behind(stack, task_id, monkeypatch):
    """No worker reports the task, because this process holds its lock. A lock that nobody holds is released."""
    monkeypatch.setattr(processing, "SUSPECT_SECONDS", 0)
    monkeypatch.setattr(processing, "_ASK_WORKERS_SECONDS", 0.5)
    left = key(uuid.uuid4())
    redis_client.set(left, time.time())
    with task_lock(task_id) as lock:
        until(lambda: processing.free_left_locks() and not redis_client.exists(left), 60, 0.2)
        assert lock and redis_client.exists(key(task_id))
