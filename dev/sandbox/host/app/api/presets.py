"""/api/presets/: the user's own and the system's."""
from django.db.models import Q
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import exceptions, permissions, serializers, viewsets
from rest_framework.filters import OrderingFilter

from app.models import Preset


class PresetSerializer(serializers.ModelSerializer):
    """A preset without its owner."""

    class Meta:
        model = Preset
        exclude = ("owner",)
        read_only_fields = ("created_at", "system")


class PresetViewSet(viewsets.ModelViewSet):
    """Model permissions only; system presets can only be deleted in the admin."""

    pagination_class = None
    serializer_class = PresetSerializer
    permission_classes = (permissions.DjangoModelPermissions,)
    filter_backends = (DjangoFilterBackend, OrderingFilter)

    def get_queryset(self):
        """What the user may use."""
        return Preset.objects.filter(Q(owner=self.request.user.id) | Q(system=True))

    def perform_create(self, serializer):
        """The caller is the owner."""
        serializer.save(owner=self.request.user)

    def perform_destroy(self, instance):
        """Raises PermissionDenied for a system preset."""
        if instance.system:
            raise exceptions.PermissionDenied()
        instance.delete()
