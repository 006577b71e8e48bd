"""URL patterns below /api/."""
from django.conf.urls import include, url
from rest_framework_jwt.views import obtain_jwt_token
from rest_framework_nested import routers

from app.plugins.views import api_view_handler

from .presets import PresetViewSet
from .processingnodes import ProcessingNodeOptionsView, ProcessingNodeViewSet
from .projects import ProjectViewSet
from .tasks import TaskAssets, TaskDownloads, TaskViewSet
from .users import UsersList

router = routers.DefaultRouter()
router.register(r"projects", ProjectViewSet)
router.register(r"processingnodes", ProcessingNodeViewSet)
router.register(r"presets", PresetViewSet, basename="presets")

tasks_router = routers.NestedSimpleRouter(router, r"projects", lookup="project")
tasks_router.register(r"tasks", TaskViewSet, basename="projects-tasks")

TASK = r"projects/(?P<project_pk>[^/.]+)/tasks/(?P<pk>[^/.]+)/"

urlpatterns = [
    url(r"processingnodes/options/$", ProcessingNodeOptionsView.as_view()),
    url(r"^", include(router.urls)),
    url(r"^", include(tasks_router.urls)),
    url(TASK + r"download/(?P<asset>.+)$", TaskDownloads.as_view()),
    url(TASK + r"assets/(?P<unsafe_asset_path>.+)$", TaskAssets.as_view()),
    url(r"^auth/", include("rest_framework.urls")),
    url(r"^token-auth/", obtain_jwt_token),
    url(r"^plugins/(?P<plugin_name>[^/.]+)/(.*)$", api_view_handler),
    url(r"users", UsersList.as_view()),
]
