"""Where a plugin's view is mounted."""


class MountPoint:
    """``url`` is a pattern below the plugin's prefix (or below / for root mounts); the rest goes to Django's ``url()``."""

    def __init__(self, url, view, *args, **kwargs):
        self.url = url.lstrip("/")
        self.view = view
        self.args = args
        self.kwargs = kwargs
