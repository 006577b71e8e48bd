"""The plugin's pages for people and its downloads: what they are mounted as and the menu that leads to them."""


def root_mounts() -> list:
    """(pattern, view) pairs at the root, each pattern from `^` to `$`."""
    from .views.pages import maker_page
    from .views.results import result_view
    from .views.watch import health_view, metrics_view

    return [
        (r"^api/openscan/download/(?P<link>[A-Za-z0-9._-]{1,120})\.zip/?$", result_view),
        (r"^openscan/?$", maker_page),
        (r"^api/openscan/health/?$", health_view),
        (r"^api/openscan/metrics/?$", metrics_view),
    ]


def api_mounts() -> list:
    """(pattern, view) pairs under `/api/plugins/openscan_cloud/`."""
    from .views.watch import health_view, metrics_view

    return [(r"metrics/?$", metrics_view), (r"health/?$", health_view)]


def app_mounts() -> list:
    """(pattern, view) pairs under `/plugins/openscan_cloud/`."""
    from .views.pages import operator_page

    return [(r"$", operator_page)]


def menu() -> list:
    """WebODM menu entries."""
    from app.plugins import Menu

    return [Menu("OpenScan Cloud", "/plugins/openscan_cloud/", "fa fa-camera fa-fw")]
