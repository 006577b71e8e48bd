"""Addresses of the plugin's pages and downloads, and the menu with links to them.

The pages and their API are mounted twice: under `/openscan/` for people with a token, and under `/plugins/openscan_cloud/`
for WebODM's users.
"""
from app_extensions.openscan.page_links import KEY_PATTERN

_NUMBER = r"(?P<token_id>[0-9]{1,9})"
_NUMBER_OF_ROW = r"(?P<number>[0-9]{1,9})"
_KEY = f"(?P<key>{KEY_PATTERN})"


def root_mounts() -> list:
    """(pattern, view) pairs at the root. Each pattern starts with `^` and ends with `$`."""
    from .views import pages
    from .views.results import result_view
    from .views.visitor import page
    from .views.watch import health_view, metrics_view

    return [
        (r"^api/openscan/download/(?P<link>[A-Za-z0-9._-]{1,120})\.zip/?$", result_view),
        (r"^openscan/?$", pages.maker_page),
        (r"^openscan/leave/$", page(pages.leave_page)),
        (r"^openscan/upload/$", page(pages.upload_page)),
        (r"^openscan/token/$", page(pages.tokens_page)),
        (r"^openscan/public/$", page(pages.public_page)),
        (r"^openscan/ask/$", page(pages.ask_page)),
        (r"^openscan/scans/$", page(pages.scans_page)),
        (rf"^openscan/(?:scans|shared)/{_KEY}/$", page(pages.scan_page)),
        *((rf"^openscan/api/{pattern}", view) for pattern, view in _page_api()),
        (r"^api/openscan/health/?$", health_view),
        (r"^api/openscan/metrics/?$", metrics_view),
    ]


def api_mounts() -> list:
    """(pattern, view) pairs under `/api/plugins/openscan_cloud/`."""
    from .views.watch import health_view, metrics_view

    return [(r"metrics/?$", metrics_view), (r"health/?$", health_view)]


def app_mounts() -> list:
    """(pattern, view) pairs under `/plugins/openscan_cloud/`."""
    from .views import pages
    from .views.visitor import members_page

    return [
        (r"$", pages.operator_page),
        (r"upload/$", members_page(pages.upload_page)),
        (r"manage/$", members_page(pages.manage_page)),
        (r"tokens/$", members_page(pages.tokens_page)),
        (r"scans/$", members_page(pages.scans_page)),
        (rf"scans/{_KEY}/$", members_page(pages.scan_page)),
        *((rf"api/{pattern}", view) for pattern, view in (*_page_api(), *_manage_api())),
    ]


def _page_api() -> list:
    """The API for the pages' scripts, below `api/` in both places."""
    from .views import browser_api as api

    return [
        (r"me$", api.me_view),
        (r"uploads$", api.uploads_view),
        (rf"uploads/{_KEY}$", api.upload_view),
        (rf"uploads/{_KEY}/start$", api.start_view),
        (r"tasks$", api.tasks_view),
        (r"tasks/(?P<task_id>[0-9a-f-]{36})$", api.task_view),
        (r"tokens$", api.tokens_view),
        (rf"tokens/{_NUMBER}/ledger$", api.ledger_view),
        (rf"tokens/{_NUMBER}/seen$", api.seen_view),
        (rf"tokens/{_NUMBER}/rotate$", api.rotate_view),
        (rf"tokens/{_NUMBER}/revoke$", api.revoke_view),
        (rf"tokens/{_NUMBER}/credit$", api.credit_view),
        (r"scans$", api.scans_view),
        (rf"scans/{_KEY}$", api.scan_view),
        (rf"scans/{_KEY}/reset$", api.reset_view),
        (rf"scans/{_KEY}/retry$", api.retry_view),
        (rf"scans/{_KEY}/share$", api.share_view),
        (rf"scans/{_KEY}/output$", api.output_view),
        (rf"scans/{_KEY}/model\.glb$", api.model_file_view),
        (rf"scans/{_KEY}/picture$", api.picture_view),
    ]


def _manage_api() -> list:
    """The API for the administrators' page, below `api/` inside WebODM."""
    from .views import manage_api as api

    return [
        (r"manage$", api.manage_view),
        (r"manage/figures$", api.figures_view),
        (rf"manage/requests/{_NUMBER_OF_ROW}/(?P<what>approve|refuse)$", api.request_view),
        (rf"manage/credit/{_NUMBER_OF_ROW}$", api.credit_request_view),
        (rf"manage/tokens/{_NUMBER_OF_ROW}/mail$", api.mail_anew_view),
        (rf"manage/queue/{_KEY}/(?P<what>hold|release|front)$", api.queue_view),
    ]


def menu() -> list:
    """Entries for WebODM's menu. WebODM does not say which user sees the menu, so the administration page redirects other users."""
    from app.plugins import Menu

    base = "/plugins/openscan_cloud/"
    entries = (("Upload photos", "upload/", "fa fa-upload"), ("Scans", "scans/", "fa fa-cube"), ("My tokens", "tokens/", "fa fa-key"),
               ("Queue", "", "fa fa-list"), ("Administration", "manage/", "fa fa-cogs"))
    return [Menu("OpenScan Cloud", css_icon="fa fa-camera fa-fw",
                 submenu=[Menu(label, base + path, f"{icon} fa-fw") for label, path, icon in entries])]
