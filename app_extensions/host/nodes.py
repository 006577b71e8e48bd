"""Processing nodes that a user may use, and whether they have room.

WebODM gives a task only to nodes on which its owner (or a group of theirs) has the object permission ``view_processingnode``.
"""
from dataclasses import dataclass, field
from typing import Optional

from app.models import Task
from django.contrib.auth.models import User
from django.db.models import Q
from guardian.shortcuts import get_objects_for_user
from nodeodm import status_codes
from nodeodm.models import ProcessingNode


@dataclass(frozen=True)
class NodeInfo:
    """A node as WebODM saw it last. ``max_images`` is None without a limit; ``options`` is what its ``/options`` said."""

    id: int
    label: str
    online: bool
    queue_count: int
    max_images: Optional[int]
    engine: str
    options: list[dict] = field(default_factory=list)

    @property
    def option_names(self) -> frozenset[str]:
        """Names of the options that the node knows."""
        return frozenset(option["name"] for option in self.options)


def _usable(user: User) -> list[ProcessingNode]:
    nodes = get_objects_for_user(user, "view_processingnode", ProcessingNode, accept_global_perms=False)
    return list(nodes.order_by("queue_count", "id"))


def _info(node: ProcessingNode) -> NodeInfo:
    options = node.available_options if isinstance(node.available_options, list) else []
    return NodeInfo(id=node.id, label=str(node), online=node.is_online(), queue_count=node.queue_count,
                    max_images=node.max_images, engine=node.engine or "", options=options)


def nodes_for(user: User) -> list[NodeInfo]:
    """The nodes that WebODM would give this user's tasks to, shortest queue first."""
    return [_info(node) for node in _usable(user)]


def free_places(user: User, per_node: int = 1, refresh: bool = True) -> int:
    """How many more tasks of the user start at once, if each node takes ``per_node``.

    Counts what the node itself reported last (tasks of other WebODMs too), what WebODM has on it meanwhile, and this user's
    tasks that wait for a node. WebODM's knowledge of a node is up to 30 s old: with ``refresh``, a node that only seems busy
    by that is asked itself (5 s at most each, for jobs; requests had better do without).
    """
    unfinished = Q(status=None) | Q(status__in=[status_codes.QUEUED, status_codes.RUNNING])
    places = 0
    for node in _usable(user):
        if node.is_online():
            ours = Task.objects.filter(unfinished, processing_node=node, partial=False).count()
            if refresh and ours < per_node <= node.queue_count:
                node.update_node_info()
            places += max(0, per_node - max(ours, node.queue_count))
    homeless = Task.objects.filter(
        unfinished, project__owner=user, processing_node=None, auto_processing_node=True, partial=False).count()
    return max(0, places - homeless)


def has_room(user: User, per_node: int = 1, refresh: bool = True) -> bool:
    """Whether a task of the user would start at once; see :func:`free_places`."""
    return free_places(user, per_node, refresh) > 0


def permit_node(user: User, node_id: int) -> None:
    """Lets a user's tasks onto a node. Raises ProcessingNode.DoesNotExist."""
    from guardian.shortcuts import assign_perm

    assign_perm("view_processingnode", user, ProcessingNode.objects.get(pk=node_id))
