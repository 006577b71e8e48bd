"""Runs blocking work outside the event loop."""
import asyncio
from typing import Any, Callable, TypeVar

Result = TypeVar("Result")


async def in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a blocking function in a thread and return its result. Raises what the function raises.

    A caller that is cancelled still waits for the thread, so that nobody removes the files that the function works on.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
