"""Processing nodes that a user may use, and whether they have room.

WebODM only gives a task to nodes for which its owner, or one of the owner's groups, has the object permission ``view_processingnode``.
"""
from dataclasses import dataclass, field
from typing import Callable, Optional, Union

from app.models import Task
from django.contrib.auth.models import User
from django.db.models import Q
from guardian.shortcuts import get_objects_for_user
from nodeodm import status_codes
from nodeodm.models import ProcessingNode
from pyodm.exceptions import OdmError

#: ClusterODM reports this as its number of processors, its memory, and its parallel tasks if no limit is set (``libs/proxy.js``,
#: ``/info``). It does not report the nodes behind it, and its queue is always empty.
CLUSTER_FIGURE = 99999999999
ASK_SECONDS = 5


_UNFINISHED = Q(status=None) | Q(status__in=[status_codes.QUEUED, status_codes.RUNNING])


@dataclass(frozen=True)
class NodeInfo:
    """A node as WebODM last saw it.

    ``max_images`` is None without a limit. ``address`` is ``host:port``. ``options`` is the answer of its ``/options``.
    """

    id: int
    label: str
    online: bool
    queue_count: int
    max_images: Optional[int]
    engine: str
    address: str = ""
    options: list[dict] = field(default_factory=list)

    @property
    def option_names(self) -> frozenset[str]:
        """Names of the options that the node supports."""
        return frozenset(option["name"] for option in self.options)


def _usable(user: User) -> list[ProcessingNode]:
    nodes = get_objects_for_user(user, "view_processingnode", ProcessingNode, accept_global_perms=False)
    return list(nodes.order_by("queue_count", "id"))


def _info(node: ProcessingNode) -> NodeInfo:
    options = node.available_options if isinstance(node.available_options, list) else []
    return NodeInfo(id=node.id, label=str(node), online=node.is_online(), queue_count=node.queue_count,
                    max_images=node.max_images, engine=node.engine or "", address=f"{node.hostname}:{node.port}",
                    options=options)


def nodes_for(user: User) -> list[NodeInfo]:
    """The nodes to which WebODM may give this user's tasks, shortest queue first."""
    return [_info(node) for node in _usable(user)]


def all_nodes() -> list[NodeInfo]:
    """Every node that WebODM knows."""
    return [_info(node) for node in ProcessingNode.objects.order_by("id")]


@dataclass(frozen=True)
class NodeLimits:
    """A node's answer about itself: whether it is a ClusterODM, and how many tasks it runs at once (None: it does not say)."""

    is_cluster: bool
    parallel: Optional[int]


def ask_limits(node_id: int) -> Optional[NodeLimits]:
    """Ask a node for its limits, which WebODM does not store. Takes at most 5 s. None if it does not answer or is gone."""
    node = ProcessingNode.objects.filter(pk=node_id).first()
    if node is None:
        return None
    try:
        info = node.api_client(timeout=ASK_SECONDS).info()
    except OdmError:
        return None
    told = info.max_parallel_tasks
    parallel = int(told) if isinstance(told, (int, float)) and 0 <= told < CLUSTER_FIGURE else None
    return NodeLimits(info.cpu_cores == info.total_memory == CLUSTER_FIGURE, parallel)


PerNode = Union[int, Callable[[NodeInfo], int]]


def places_by_node(user: User, per_node: PerNode = 1, refresh: bool = True) -> dict[int, int]:
    """How many more tasks each usable online node would take: node id → places.

    Counts the tasks that the node last reported (which may belong to other WebODMs) and those that this WebODM has on it now. WebODM's
    data about a node is up to 30 s old.

    :param per_node: how many tasks a node takes: one number for all nodes, or a function of the node
    :param refresh: ask a node that seems busy only because of other tasks. Takes up to 5 s per node, so leave it off in web requests
    """
    places = {}
    for node in _usable(user):
        if node.is_online():
            most = per_node(_info(node)) if callable(per_node) else per_node
            ours = Task.objects.filter(_UNFINISHED, processing_node=node, partial=False).count()
            if refresh and ours < most <= node.queue_count:
                node.update_node_info()
            places[node.id] = max(0, most - max(ours, node.queue_count))
    return places


def free_places(user: User, per_node: PerNode = 1, refresh: bool = True) -> int:
    """How many more tasks of the user would start at once.

    These are the places of :func:`places_by_node`, minus the user's tasks that still wait for a node.
    """
    homeless = Task.objects.filter(
        _UNFINISHED, project__owner=user, processing_node=None, auto_processing_node=True, partial=False).count()
    return max(0, sum(places_by_node(user, per_node, refresh).values()) - homeless)


def permit_node(user: User, node_id: int) -> None:
    """Allow a user's tasks on a node. Raises ProcessingNode.DoesNotExist."""
    from guardian.shortcuts import assign_perm

    assign_perm("view_processingnode", user, ProcessingNode.objects.get(pk=node_id))
