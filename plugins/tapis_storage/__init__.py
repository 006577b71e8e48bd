"""The Tapis Storage plugin: what WebODM sees of it."""
from .plugin import *  # noqa: F403 - WebODM looks for the class Plugin in the package itself
