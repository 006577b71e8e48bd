"""Its register() raises."""
from app.plugins import PluginBase


class Plugin(PluginBase):
    """Does nothing."""

    def register(self):
        raise RuntimeError("this plugin cannot be registered")
