"""The application's URL patterns. Importing this module boots the host, and that is when plugins' root mounts are read."""
from django.conf.urls import include, url
from webodm import settings

from app.boot import boot
from app.plugins import sync_plugin_db
from app.plugins.views import app_view_handler, root_url_patterns

from .views import pages

# The Celery worker imports this module too (its start-up checks do) but leaves booting to the web processes.
if not settings.WORKER_RUNNING and not settings.TESTING:
    boot()
if settings.TESTING:
    sync_plugin_db()

urlpatterns = [
    url(r"^$", pages.index, name="index"),
    url(r"^welcome/$", pages.welcome, name="welcome"),
    url(r"^dashboard/$", pages.dashboard, name="dashboard"),
    url(r"^3d/project/(?P<project_pk>[^/.]+)/task/(?P<task_pk>[^/.]+)/$", pages.model_display, name="model_display"),
    url(r"^map/project/(?P<project_pk>[^/.]+)/task/(?P<task_pk>[^/.]+)/$", pages.model_display, name="map"),
    url(r"^processingnode/([\d]+)/$", pages.processing_node, name="processing_node"),
    url(r"^api/", include("app.api.urls")),
    url(r"^plugins/(?P<plugin_name>[^/.]+)/(.*)$", app_view_handler),
    url(r"^about/$", pages.about, name="about"),
    url(r"^i18n/", include("django.conf.urls.i18n")),
] + root_url_patterns()
