"""Find the visitor behind a request, and render our pages with their headers."""
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from app_extensions.host import page_policy
from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan.accounts import visitors
from app_extensions.openscan.accounts.visitors import Visitor
from app_extensions.openscan.intake import names
from app_extensions.openscan.models import Token

from .http import PLUGIN_NAME, address_of

TEMPLATES = f"plugins/{PLUGIN_NAME}/templates/"
COOKIE = "openscan_visitor"
#: Paths of our pages: for people with a token, and inside WebODM. The cookie is only sent to the first.
OUTSIDE, INSIDE = "/openscan/", f"/plugins/{PLUGIN_NAME}/"
#: Our own pages have no inline scripts and load only from this server. The 3D viewer makes textures from blobs, decodes meshes in
#: WebAssembly (for which 'wasm-unsafe-eval' is enough), and writes style attributes.
_OUTSIDE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "font-src 'self'; connect-src 'self' blob: data:; worker-src 'self' blob:; manifest-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'")


def visitor_of(request: HttpRequest) -> Visitor:
    """The visitor behind a request: inside WebODM the signed-in user, outside the holder of a token."""
    if request.path.startswith(INSIDE):
        return Visitor(user=request.user if request.user.is_authenticated else None, address=address_of(request))
    cookie = request.COOKIES.get(COOKIE, "")
    token = visitors.remembered(cookie)
    # If addresses cannot distinguish clients, identify the browser by its cookie, which is different for each sign-in.
    is_unknown = token is not None and names.needs_secret(token)
    return Visitor(token=token, address=names.identify(cookie, "") if is_unknown else address_of(request))


def sign_in(response: HttpResponse, token: Token, request: HttpRequest) -> None:
    """Remember a token in a cookie. Scripts cannot read the cookie, and browsers do not send it with forms of other sites."""
    response.set_cookie(COOKIE, visitors.remember(token), max_age=visitors.REMEMBERED_SECONDS, path=OUTSIDE, httponly=True,
                        samesite="Lax", secure=request.is_secure())


def sign_out(response: HttpResponse) -> None:
    """Delete the cookie with the token."""
    response.delete_cookie(COOKIE, path=OUTSIDE)


def show(request: HttpRequest, template: str, context: "dict[str, Any]", status: int = 200) -> HttpResponse:
    """Render one of our pages, in WebODM's frame for addresses inside WebODM, else in our own.

    Pages are not cached. Their address may be a key, so other sites get no Referer. This server does get it, because Django's CSRF check
    needs a Referer under HTTPS.
    """
    inside = request.path.startswith(INSIDE)
    base = INSIDE if inside else OUTSIDE
    frame = {"shell": TEMPLATES + ("shell_webodm.html" if inside else "shell.html"), "inside": inside, "base": base,
             "api": base + "api/", "static": INSIDE, "csrf_cookie": settings.CSRF_COOKIE_NAME}
    response = render(request, TEMPLATES + template, {"title": "OpenScan Cloud", **frame, **context}, status=status)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "same-origin"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = page_policy.policy(ancestors="'self'") if inside else _OUTSIDE_POLICY
    return response


def page(view: Any) -> Any:
    """Decorate a page outside WebODM: 404 while the plugin is disabled, because root mounts stay active."""
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not plugin_enabled(PLUGIN_NAME):
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def members_page(view: Any) -> Any:
    """Decorate the same page inside WebODM: for signed-in users only."""
    return login_required(view)
