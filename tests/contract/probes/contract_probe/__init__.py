from .plugin import *  # noqa: F403
