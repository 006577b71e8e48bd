"""Calls webhooks when a task has ended: a POST of the task's info and images database, repeated for a while until it is accepted."""
import asyncio
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from .tasks import Task

logger = logging.getLogger(__name__)

ATTEMPTS = 6
WAIT_SECONDS = 5.0
TIMEOUT_SECONDS = 30.0


async def call_webhook(url: str, task: Task, project: Path) -> bool:
    """POST to a webhook; returns whether it answered 200 within six attempts. As in NodeODM, the waits are 0 s, 5 s, 10 s …

    Only the host is logged: the rest of the address may hold a secret.
    """
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        logger.warning("task %s has a webhook that is not an http or https address", task.uuid)
        return False
    body = dict(task.info(), images=_images_database(project))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session:
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(attempt * WAIT_SECONDS)
            try:
                async with session.post(url, json=body) as answer:
                    if answer.status == 200:
                        return True
                    reason = f"status {answer.status}"
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                reason = type(error).__name__
            logger.warning("webhook at %s for task %s: %s", address.hostname, task.uuid, reason)
    return False


def _images_database(project: Path) -> Any:
    try:
        return json.loads((project / "images.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Failed tasks have none.
        return []
