"""The Tapis Storage plugin, as WebODM loads it."""
from .plugin import *  # noqa: F403 - WebODM looks for the class Plugin in the package itself
