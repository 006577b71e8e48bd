"""/api/projects/ID/tasks/: tasks, their files in and out, and what their owner wants done with them."""
import mimetypes
import os
from wsgiref.util import FileWrapper

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from nodeodm.models import ProcessingNode
from rest_framework import exceptions, filters, parsers, permissions, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.views import APIView
from worker import tasks as worker_tasks

from app import models, pending_actions

from .common import check_project_perms, get_and_check_project, get_asset_download_filename
from .tags import TagsField

STREAM_BYTES = 1e8


class TaskSerializer(serializers.ModelSerializer):
    """All fields of a task, and what the dashboard wants besides."""

    project = serializers.PrimaryKeyRelatedField(queryset=models.Project.objects.all())
    processing_node = serializers.PrimaryKeyRelatedField(queryset=ProcessingNode.objects.all())
    processing_node_name = serializers.SerializerMethodField()
    can_rerun_from = serializers.SerializerMethodField()
    statistics = serializers.SerializerMethodField()
    extent = serializers.SerializerMethodField()
    media = serializers.SerializerMethodField()
    tags = TagsField(required=False)

    class Meta:
        model = models.Task
        fields = "__all__"
        read_only_fields = (
            "processing_time",
            "status",
            "last_error",
            "created_at",
            "pending_action",
            "available_assets",
            "size",
        )

    def get_processing_node_name(self, obj):
        """The node's label, or None."""
        return str(obj.processing_node) if obj.processing_node else None

    def get_can_rerun_from(self, obj):
        """Steps that the node can start again from."""
        for option in obj.processing_node.available_options if obj.processing_node else []:
            if option.get("name") == "rerun-from":
                return option.get("domain", [])
        return []

    def get_statistics(self, obj):
        """Numbers out of the report."""
        return obj.get_statistics()

    def get_extent(self, obj):
        """None: nothing here is geographic."""
        return None

    def get_media(self, obj):
        """How many media files there are."""
        return len(obj.media or [])


class TaskViewSet(viewsets.ViewSet):
    """Permissions are the project's; a public task is seen by anybody."""

    queryset = models.Task.objects.all().select_related("project")
    parser_classes = (parsers.MultiPartParser, parsers.JSONParser, parsers.FormParser)
    ordering_fields = "__all__"

    def get_permissions(self):
        """Model permissions, but for looking at one task."""
        if self.action == "retrieve":
            return [permissions.AllowAny()]
        return [permissions.DjangoModelPermissions()]

    def _get(self, request, pk, project_pk, perms=("view_project",)):
        try:
            task = self.queryset.get(pk=pk, project=project_pk)
        except (ObjectDoesNotExist, ValidationError, ValueError) as error:
            raise exceptions.NotFound() from error
        check_project_perms(request, task.project, perms)
        return task

    def _wish(self, request, pk, project_pk, wish, perms=("change_project",)):
        task = self._get(request, pk, project_pk, perms)
        task.pending_action = wish
        task.partial = False
        task.last_error = None
        task.save()
        worker_tasks.process_task.delay(task.id)
        return Response({"success": True})

    @action(detail=True, methods=["post"])
    def cancel(self, request, pk=None, project_pk=None):
        """Stops the task."""
        return self._wish(request, pk, project_pk, pending_actions.CANCEL)

    @action(detail=True, methods=["post"])
    def restart(self, request, pk=None, project_pk=None):
        """Starts the task again."""
        return self._wish(request, pk, project_pk, pending_actions.RESTART)

    @action(detail=True, methods=["post"])
    def remove(self, request, pk=None, project_pk=None):
        """Deletes the task, on the node too."""
        return self._wish(request, pk, project_pk, pending_actions.REMOVE, ("delete_project",))

    @action(detail=True, methods=["post"])
    def compact(self, request, pk=None, project_pk=None):
        """Deletes the images."""
        return self._wish(request, pk, project_pk, pending_actions.COMPACT, ("delete_project",))

    @action(detail=True, methods=["get"])
    def output(self, request, pk=None, project_pk=None):
        """Console lines from ``?line=`` on."""
        task = self._get(request, pk, project_pk)
        try:
            line = max(0, int(request.query_params.get("line", 0)))
        except ValueError as error:
            raise exceptions.ValidationError("Invalid parameter") from error
        return Response("\n".join(task.console.output().rstrip().split("\n")[line:]))

    def list(self, request, project_pk=None):
        """The project's tasks, ``?status=`` and ``?ordering=`` allowed."""
        get_and_check_project(request, project_pk, defer=True)
        tasks = self.queryset.filter(project=project_pk)
        wanted = request.query_params.get("status")
        if wanted is not None:
            try:
                tasks = tasks.filter(status=int(wanted))
            except ValueError as error:
                raise exceptions.ValidationError("Invalid status parameter") from error
        tasks = filters.OrderingFilter().filter_queryset(request, tasks, self)
        return Response(TaskSerializer(tasks, many=True).data)

    def retrieve(self, request, pk=None, project_pk=None):
        """One task."""
        try:
            task = self.queryset.get(pk=pk, project=project_pk)
        except (ObjectDoesNotExist, ValidationError, ValueError) as error:
            raise exceptions.NotFound() from error
        if not (task.public or task.project.public):
            check_project_perms(request, task.project)
        return Response(TaskSerializer(task).data)

    def create(self, request, project_pk=None):
        """A partial task that waits for its files, or one with all of them."""
        project = get_and_check_project(request, project_pk, ("change_project",))
        wish = pending_actions.RESIZE if "resize_to" in request.data else None
        files = _flat(request.FILES)
        partial = bool(request.data.get("partial"))
        if not partial and len(files) <= 1:
            raise exceptions.ValidationError(detail="Cannot create task, you need at least 2 images")
        with transaction.atomic():
            task = models.Task.objects.create(project=project, pending_action=wish)
            if not partial:
                task.handle_images_upload(files)
                task.images_count = len(task.scan_images())
            serializer = _saved(task, request.data)
            if not partial:
                transaction.on_commit(lambda: worker_tasks.process_task.delay(task.id))
        return Response(serializer.data, status=status.HTTP_201_CREATED)

    @action(detail=True, methods=["post"])
    def upload(self, request, pk=None, project_pk=None):
        """Adds files to a task."""
        task = self._get(request, pk, project_pk, ("change_project",))
        files = _flat(request.FILES)
        if not files:
            raise exceptions.ValidationError(detail="No files uploaded")
        uploaded = task.handle_images_upload(files)
        task.images_count = len(task.scan_images())
        _saved(task, request.data)
        return Response({"success": True, "uploaded": uploaded})

    @action(detail=True, methods=["post"])
    def commit(self, request, pk=None, project_pk=None):
        """All files are there: process them."""
        task = self._get(request, pk, project_pk, ("change_project",))
        task.partial = False
        task.images_count = len(task.scan_images())
        if task.images_count < 1:
            raise exceptions.ValidationError(detail="You need to upload at least 1 file before commit")
        task.update_size()
        task.save()
        worker_tasks.process_task.delay(task.id)
        return Response(TaskSerializer(task).data)

    def update(self, request, pk=None, project_pk=None, partial=False):
        """Changes fields and takes the task's next step."""
        task = self._get(request, pk, project_pk, ("change_project",))
        if "project" in request.data:
            try:
                get_and_check_project(request, request.data["project"], ("change_project",), defer=True)
            except exceptions.NotFound as error:
                raise exceptions.PermissionDenied() from error
        serializer = _saved(task, request.data, partial=partial)
        worker_tasks.process_task.delay(task.id)
        return Response(serializer.data)

    def partial_update(self, request, *args, **kwargs):
        """Changes some fields."""
        return self.update(request, *args, partial=True, **kwargs)


def _flat(files) -> list:
    """All uploaded files, whatever their fields are called."""
    return [file for field in files for file in files.getlist(field)]


def _saved(task, data, partial=True) -> TaskSerializer:
    serializer = TaskSerializer(task, data=data, partial=partial)
    serializer.is_valid(raise_exception=True)
    serializer.save()
    return serializer


class TaskNestedView(APIView):
    """For views on one task, plugins' too. Checks ``view_project`` only, and nothing on public tasks."""

    queryset = models.Task.objects.all().select_related("project")
    permission_classes = (permissions.AllowAny,)

    def get_and_check_task(self, request, pk, annotate=None):
        """The task. Raises NotFound when the user may not see it."""
        try:
            task = self.queryset.annotate(**(annotate or {})).get(pk=pk)
        except (ObjectDoesNotExist, ValidationError) as error:
            raise exceptions.NotFound() from error
        if not (task.public or task.project.public):
            check_project_perms(request, task.project)
        return task


class TaskDownloads(TaskNestedView):
    """…/download/ASSET."""

    def get(self, request, pk=None, project_pk=None, asset=""):
        """The asset, as a file to save or, with ``?inline``, to show."""
        task = self.get_and_check_task(request, pk)
        try:
            source = task.get_asset_file_or_stream(asset)
        except FileNotFoundError as error:
            raise exceptions.NotFound("Asset does not exist") from error
        if isinstance(source, str) and not os.path.isfile(source):
            raise exceptions.NotFound("Asset does not exist")
        name = request.GET.get("filename", get_asset_download_filename(task, asset))
        disposition = "inline" if request.GET.get("inline") is not None else "attachment"
        if isinstance(source, str):
            response = _file_response(source)
        else:
            response = StreamingHttpResponse(source)
            response["Content-Length"] = len(source)
        response["Content-Type"] = mimetypes.guess_type(name)[0] or "application/zip"
        response["Content-Disposition"] = f"{disposition}; filename={name}"
        return response


class TaskAssets(TaskNestedView):
    """…/assets/PATH: one file of the results."""

    def get(self, request, pk=None, project_pk=None, unsafe_asset_path=""):
        """The file."""
        from app.security import path_traversal_check

        task = self.get_and_check_task(request, pk)
        path = path_traversal_check(task.assets_path(unsafe_asset_path), task.assets_path(""))
        if not os.path.isfile(path):
            raise exceptions.NotFound("Asset does not exist")
        response = _file_response(path)
        response["Content-Type"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
        response["Content-Disposition"] = f"inline; filename={os.path.basename(path)}"
        return response


def _file_response(path: str):
    """Above 100 MB a stream, below it one body. Neither answers ranges."""
    size = os.path.getsize(path)
    stream = open(path, "rb")  # noqa: SIM115 (the response closes it)
    response = FileResponse(stream) if size > STREAM_BYTES else HttpResponse(FileWrapper(stream))
    response["Content-Length"] = size
    return response
