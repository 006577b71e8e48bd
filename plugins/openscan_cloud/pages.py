"""The plugin's pages for people: what they are mounted as and the menu that leads to them."""


def root_mounts() -> list:
    """(pattern, view) pairs at the root, each pattern from `^` to `$`."""
    return []


def api_mounts() -> list:
    """(pattern, view) pairs under `/api/plugins/openscan_cloud/`."""
    return []


def app_mounts() -> list:
    """(pattern, view) pairs under `/plugins/openscan_cloud/`."""
    return []


def menu() -> list:
    """WebODM menu entries."""
    return []
