"""Cannot be imported while there is a file named "broken" beside it."""
import os

from app.plugins import PluginBase

if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
    raise ImportError("this plugin cannot be imported")


class Plugin(PluginBase):
    """Does nothing."""
