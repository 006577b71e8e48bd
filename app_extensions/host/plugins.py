"""Whether a plugin is enabled. Views at the root ask, since WebODM keeps them mounted after the plugin is disabled."""
from app.models import Plugin


def plugin_enabled(name: str) -> bool:
    """Whether there is such a plugin and it is switched on; one small query."""
    return Plugin.objects.filter(pk=name, enabled=True).exists()
