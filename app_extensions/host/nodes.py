"""Processing nodes that a user may use, and whether they have room.

WebODM gives a task only to nodes on which its owner (or a group of theirs) has the object permission ``view_processingnode``.
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

#: What ClusterODM says of its processors, its memory, and its parallel tasks where no limit is set (``libs/proxy.js``,
#: ``/info``): it does not tell what stands behind it, and its queue is always empty.
CLUSTER_FIGURE = 99999999999
ASK_SECONDS = 5


_UNFINISHED = Q(status=None) | Q(status__in=[status_codes.QUEUED, status_codes.RUNNING])


@dataclass(frozen=True)
class NodeInfo:
    """A node as WebODM saw it last. ``max_images`` is None without a limit; ``address`` is ``host:port``; ``options`` is what its
    ``/options`` said."""

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
        """Names of the options that the node knows."""
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
    """The nodes that WebODM would give this user's tasks to, shortest queue first."""
    return [_info(node) for node in _usable(user)]


def all_nodes() -> list[NodeInfo]:
    """Every node that WebODM knows."""
    return [_info(node) for node in ProcessingNode.objects.order_by("id")]


@dataclass(frozen=True)
class NodeLimits:
    """What a node says of itself when asked: whether it is a ClusterODM, and how many tasks it does at once (None: not told)."""

    is_cluster: bool
    parallel: Optional[int]


def ask_limits(node_id: int) -> Optional[NodeLimits]:
    """Asks a node itself (5 s at most): WebODM does not keep these. None where it does not answer or is gone."""
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
    """How many more tasks each node that is online and that the user may use would take: node id → places.

    Counts what the node itself reported last (tasks of other WebODMs too) and what WebODM has on it meanwhile. WebODM's
    knowledge of a node is up to 30 s old: with ``refresh``, a node that only seems busy by that is asked itself (5 s at most
    each, for jobs; requests had better do without).

    :param per_node: how many tasks a node takes, for all or by node
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
    """How many more tasks of the user start at once: the places of :func:`places_by_node` without those that this user's
    tasks which still wait for a node will take."""
    homeless = Task.objects.filter(
        _UNFINISHED, project__owner=user, processing_node=None, auto_processing_node=True, partial=False).count()
    return max(0, sum(places_by_node(user, per_node, refresh).values()) - homeless)


def permit_node(user: User, node_id: int) -> None:
    """Lets a user's tasks onto a node. Raises ProcessingNode.DoesNotExist."""
    from guardian.shortcuts import assign_perm

    assign_perm("view_processingnode", user, ProcessingNode.objects.get(pk=node_id))
