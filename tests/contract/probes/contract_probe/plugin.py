"""One mount point for each thing that a plugin may try."""
import json
import os
import time

from app.plugins import Menu, MountPoint, PluginBase, get_current_plugin
from app.plugins.views import TaskView
from django.conf import settings
from django.http import FileResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.parsers import FileUploadParser
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView


def note(name, **values):
    """Adds a line to a log of this plugin's in the media directory."""
    directory = os.path.join(settings.MEDIA_ROOT, "contract_log")
    os.makedirs(directory, exist_ok=True)
    with open("/proc/self/cmdline", "rb") as stream:
        values["cmdline"] = stream.read().decode().split("\0")
    with open(os.path.join(directory, name), "a") as stream:
        stream.write(json.dumps(dict(values, pid=os.getpid(), at=time.time())) + "\n")


note("import")


def answer(request, rest=None):
    """What the view sees of a request; the body is not touched."""
    return JsonResponse({
        "method": request.method, "rest": rest, "pid": os.getpid(), "user": str(request.user),
        "path_info": request.path_info, "full_path": request.get_full_path(),
        "content_length": request.META.get("CONTENT_LENGTH")})


@csrf_exempt
def exempt(request, rest=None):
    """Says that it needs no CSRF token."""
    return answer(request, rest)


@csrf_exempt
def body(request):
    """Reads the body as a whole."""
    return JsonResponse({"bytes": len(request.body)})


@csrf_exempt
def stream(request):
    """Reads the body piece by piece and tells by how much this process grew."""
    def resident_kilobytes():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    before, total, largest = resident_kilobytes(), 0, 0
    while True:
        piece = request.read(1 << 20)
        if not piece:
            break
        total += len(piece)
        largest = max(largest, resident_kilobytes())
    return JsonResponse({"bytes": total, "grown_kilobytes": max(0, largest - before)})


def file(request):
    """Sends 1000 bytes as a FileResponse."""
    path = os.path.join(settings.MEDIA_ROOT, "contract_log", "thousand")
    with open(path, "wb") as out:
        out.write(bytes(range(250)) * 4)
    return FileResponse(open(path, "rb"))  # noqa: SIM115 (the response closes it)


class Open(APIView):
    """No authentication, anybody."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request, rest=None):
        return answer(request, rest)

    post = put = get


class Basic(Open):
    """HTTP Basic, anybody."""

    authentication_classes = (BasicAuthentication,)


class WithSession(Open):
    """WebODM's session, default parsers."""

    authentication_classes = (SessionAuthentication,)

    def post(self, request):
        return Response({})


class Jwt(APIView):
    """DRF's default authentication, anybody."""

    permission_classes = (AllowAny,)

    def get(self, request):
        return Response({"user": str(request.user), "authenticated": bool(request.user.is_authenticated)})


class Defaults(APIView):
    """All of DRF's defaults, no queryset."""

    def get(self, request):
        return Response({})


class Upload(Open):
    """DRF's parser for raw uploads."""

    parser_classes = (FileUploadParser,)

    def post(self, request, filename=None):
        received = request.data["file"]
        temporary = getattr(received, "temporary_file_path", None)
        return JsonResponse({"bytes": received.size, "path": temporary() if temporary else None})


class OfTask(TaskView):
    """WebODM's base class for views on a task."""

    def get(self, request, pk=None):
        return Response({"id": str(self.get_and_check_task(request, pk).id)})

    post = get


def page(request):
    """A page on WebODM's base template."""
    return render(request, get_current_plugin().template_path("page.html"), {"title": "Contract probe"})


class Plugin(PluginBase):
    """Notes when it is registered, enabled and disabled."""

    def register(self):
        note("register")

    def enable(self):
        note("enable")

    def disable(self):
        note("disable")

    def main_menu(self):
        return [Menu("Contract probe menu", self.public_url("page"), "fa fa-flask")]

    def include_js_files(self):
        return ["probe.js"]

    def app_mount_points(self):
        return [MountPoint("page$", page), MountPoint("exempt$", exempt)]

    def api_mount_points(self):
        return [
            MountPoint("echo/(?P<rest>.*)$", answer),
            MountPoint("exempt$", exempt),
            MountPoint("open$", Open.as_view()),
            MountPoint("basic$", Basic.as_view()),
            MountPoint("jwt$", Jwt.as_view()),
            MountPoint("prefix", answer),
            MountPoint("^caret$", answer),
        ]

    def root_mount_points(self):
        return [
            MountPoint(r"^contract-probe/echo/(?P<rest>.*)$", exempt),
            MountPoint(r"^contract-probe/open$", Open.as_view()),
            MountPoint(r"^contract-probe/basic$", Basic.as_view()),
            MountPoint(r"^contract-probe/session$", WithSession.as_view()),
            MountPoint(r"^contract-probe/jwt$", Jwt.as_view()),
            MountPoint(r"^contract-probe/defaults$", Defaults.as_view()),
            MountPoint(r"^contract-probe/prefix", exempt),
            MountPoint(r"^contract-probe/body$", body),
            MountPoint(r"^contract-probe/stream$", stream),
            MountPoint(r"^contract-probe/file$", file),
            MountPoint(r"^contract-probe/upload/(?P<filename>[^/]+)$", Upload.as_view()),
            MountPoint(r"^contract-probe/task/(?P<pk>[^/]+)$", OfTask.as_view()),
            MountPoint(r"^api/tapis-storage/contract-probe$", Open.as_view()),
            MountPoint(r"^api/projects/$", Open.as_view()),
        ]
