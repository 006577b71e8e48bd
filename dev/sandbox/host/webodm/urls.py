"""Root URL patterns: the application's, Django's login pages and admin, and static files.

A real WebODM leaves static files to nginx; here gunicorn serves them, since there is no nginx in front.
"""
from django.conf.urls import include, url
from django.contrib import admin
from django.contrib.staticfiles.views import serve as serve_static

admin.site.site_header = "WebODM Administration"

urlpatterns = [
    url(r"^static/(?P<path>.*)$", serve_static, {"insecure": True}),
    url(r"^", include("app.urls")),
    url(r"^", include("django.contrib.auth.urls")),
    url(r"^admin/", admin.site.urls),
]
