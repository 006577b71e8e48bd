"""/api/projects/: the projects a user may see."""
import django_filters
from guardian.shortcuts import get_perms, remove_perm
from rest_framework import serializers, status, viewsets
from rest_framework.response import Response

from app import models

from .common import get_and_check_project
from .tags import TagsField

PERMISSIONS = ("add", "change", "delete", "view")


class TaskIDsSerializer(serializers.BaseSerializer):
    """A task as its id."""

    def to_representation(self, instance):
        """The id."""
        return instance.id


class ProjectSerializer(serializers.ModelSerializer):
    """A project with its tasks' ids and the caller's permissions."""

    tasks = TaskIDsSerializer(many=True, read_only=True)
    owner = serializers.HiddenField(default=serializers.CurrentUserDefault())
    owned = serializers.SerializerMethodField()
    created_at = serializers.ReadOnlyField()
    permissions = serializers.SerializerMethodField()
    tags = TagsField(required=False)

    class Meta:
        model = models.Project
        exclude = ("deleting",)

    def get_permissions(self, obj):
        """Of the caller, without the model's name."""
        request = self.context.get("request")
        return [perm.replace("_project", "") for perm in get_perms(request.user, obj)] if request else []

    def get_owned(self, obj):
        """Whether the caller may do as the owner may."""
        request = self.context.get("request")
        return bool(request) and (request.user.is_superuser or obj.owner_id == request.user.id)


class ProjectFilter(django_filters.FilterSet):
    """Exact values, and ``search`` in the name."""

    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains")

    class Meta:
        model = models.Project
        fields = ["search", "id", "name", "description", "created_at"]


class ProjectViewSet(viewsets.ModelViewSet):
    """Pages only where a page is asked for."""

    serializer_class = ProjectSerializer
    queryset = models.Project.objects.prefetch_related("task_set").filter(deleting=False).order_by("-created_at")
    filterset_class = ProjectFilter
    ordering_fields = "__all__"

    def paginate_queryset(self, queryset):
        """None, which is everything, without ``?page=``."""
        if self.request.query_params.get(self.paginator.page_query_param) is None:
            return None
        return super().paginate_queryset(queryset)

    def destroy(self, request, pk=None):
        """Deletes the owner's project; another's is only taken out of the caller's sight."""
        project = get_and_check_project(request, pk)
        if project.owner == request.user or request.user.is_superuser:
            get_and_check_project(request, pk, ("delete_project",))
            return super().destroy(self, request, pk=pk)
        for name in PERMISSIONS:
            remove_perm(name + "_project", request.user, project)
        return Response(status=status.HTTP_204_NO_CONTENT)
