"""The ways of taking an upload that Django and its REST framework offer, as a WSGI application to measure our upload view against."""
import os

from django.conf import settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="only for measurements",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        FILE_UPLOAD_TEMP_DIR=os.environ.get("BENCH_UPLOADS"),
    )

from django.conf.urls import url
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from rest_framework.parsers import FileUploadParser  # noqa: E402 - apps come first
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Upload(APIView):
    """DRF's parser for raw bodies: a temporary file."""

    authentication_classes = ()
    permission_classes = ()
    parser_classes = (FileUploadParser,)

    def post(self, request):
        return Response({"size": request.data["file"].size})


class Body(APIView):
    """Django's `request.body`."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request):
        return Response({"size": len(request._request.body)})


urlpatterns = [url(r"^file$", Upload.as_view()), url(r"^body$", Body.as_view())]
