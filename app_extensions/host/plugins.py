"""Whether a plugin is enabled. Views at the root must ask, because WebODM keeps them mounted after the plugin is disabled."""
from app.models import Plugin


def plugin_enabled(name: str) -> bool:
    """Whether the plugin exists and is enabled. Costs one small query."""
    return Plugin.objects.filter(pk=name, enabled=True).exists()
