"""/api/processingnodes/: the nodes a user may see."""
from guardian.shortcuts import get_objects_for_user
from nodeodm.models import ProcessingNode
from rest_framework import serializers, viewsets
from rest_framework.response import Response
from rest_framework.views import APIView


class ProcessingNodeSerializer(serializers.ModelSerializer):
    """A node; its label is never empty."""

    online = serializers.SerializerMethodField()
    label = serializers.SerializerMethodField()

    class Meta:
        model = ProcessingNode
        fields = "__all__"

    def get_online(self, obj):
        """Whether it answered lately."""
        return obj.is_online()

    def get_label(self, obj):
        """The label, or host and port."""
        return str(obj)


class ProcessingNodeViewSet(viewsets.ModelViewSet):
    """Object permissions decide which nodes are listed."""

    pagination_class = None
    serializer_class = ProcessingNodeSerializer
    queryset = ProcessingNode.objects.all()
    filter_fields = ("id", "hostname", "port", "label", "engine")


class ProcessingNodeOptionsView(APIView):
    """Options that all online nodes of the user have."""

    queryset = ProcessingNode.objects.all()

    def get(self, request):
        """The intersection, as the first node describes them."""
        nodes = get_objects_for_user(request.user, "view_processingnode", ProcessingNode, accept_global_perms=False)
        lists = [node.available_options for node in nodes if node.is_online()]
        if not lists:
            return Response([])
        names = set.intersection(*({option["name"] for option in options} for options in lists))
        return Response([option for option in lists[0] if option["name"] in names])
