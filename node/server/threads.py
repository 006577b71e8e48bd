"""Runs blocking work beside the event loop."""
import asyncio
from typing import Any, Callable, TypeVar

Result = TypeVar("Result")


async def in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """The result of a blocking function, run in a thread.

    A caller that is cancelled still waits for the thread, so that nobody removes the files it works on. Raises what the function raises.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
