"""Decides which processing nodes get scans, and how many at a time.

WebODM knows the length of a node's queue, but not how many tasks the node can run at once. A ClusterODM always has an empty queue
and does not say how many machines it has. So the number comes from a setting, from the node itself, or from a default.
"""
import logging
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from app_extensions.host import nodes as host_nodes
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import NodeRecord

logger = logging.getLogger("app.logger")

#: How long a node's answer about itself is used.
ASK_EVERY = timedelta(minutes=5)
#: No machine runs more tasks at once. A larger number means that the node has no limit.
_MOST_PARALLEL = 1000


class Places:
    """How many scans each node takes at a time: ``Places()(node)``. Reads settings and node records once."""

    def __init__(self) -> None:
        self._by_name = conf.node_tasks
        self._records = {record.node_id: record for record in NodeRecord.objects.all()}

    def __call__(self, node: host_nodes.NodeInfo) -> int:
        for name in (node.address, node.label):
            if name in self._by_name:
                return self._by_name[name]
        record = self._records.get(node.id)
        if record is None or not record.is_cluster:
            return conf.tasks_per_node
        return record.parallel if record.parallel is not None and record.parallel <= _MOST_PARALLEL else conf.tasks_per_cluster

    def is_cluster(self, node_id: int) -> bool:
        """Whether the node has many machines behind it. If one of them fails, that says nothing about the others."""
        return node_id in self._records and self._records[node_id].is_cluster

    def rests(self, node_id: int) -> bool:
        """Whether the node gets no scans for a while because it failed one."""
        record = self._records.get(node_id)
        return record is not None and record.rests_until is not None and record.rests_until > timezone.now()

    def usable(self, owner: Any) -> "list[host_nodes.NodeInfo]":
        """The nodes that take this WebODM user's scans now: permitted, online, not resting, and not set to zero scans."""
        return [node for node in host_nodes.nodes_for(owner) if node.online and not self.rests(node.id) and self(node) > 0]


def ask_nodes() -> int:
    """Ask each online node about itself, unless it answered recently. :return: how many answered"""
    now, answered = timezone.now(), 0
    known = set(NodeRecord.objects.filter(asked_at__gte=now - ASK_EVERY).values_list("node_id", flat=True))
    for node in host_nodes.all_nodes():
        if node.id in known or not node.online:
            continue
        limits = host_nodes.ask_limits(node.id)
        if limits is not None:
            NodeRecord.objects.update_or_create(node_id=node.id, defaults={
                "is_cluster": limits.is_cluster, "parallel": limits.parallel, "asked_at": now})
            answered += 1
    return answered


def note_trouble(node_id: int, words: str, rests: bool) -> None:
    """Record that a scan was taken off a node.

    :param words: the reason, for people
    :param rests: whether the node should get no other scans for a while
    """
    record, _ = NodeRecord.objects.get_or_create(node_id=node_id)
    fields: dict = {"troubles": F("troubles") + 1, "last_trouble": words[:200]}
    if rests and not record.is_cluster:
        fields["rests_until"] = timezone.now() + timedelta(minutes=conf.node_rest_minutes)
    NodeRecord.objects.filter(pk=record.pk).update(**fields)
