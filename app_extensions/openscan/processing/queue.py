"""The queue of approved scans: whose turn it is, when there is room, and how long it will take.

Private tokens come before public ones. Within a kind, tokens take turns, and so do the clients of a public token: anybody's first scan
comes before anybody's second. Running scans count as turns taken. Between equals, the scan that was started first goes first. A scan
is handed to WebODM only while the nodes that its owner may use have room, so that we and not the node decide the order.

An administrator may put a scan on hold (``on_hold``) or move it to the front (``queue_rank``). The database sorts the queue, so a rig
that asks for its place costs one number and not the whole queue.
"""
import logging
from typing import Any, NamedTuple, Optional

from django.db import connection, transaction
from django.utils import timezone

from app_extensions.host import nodes as host_nodes
from app_extensions.host import presets
from app_extensions.host import tasks as host_tasks
from app_extensions.host.log_fields import log_fields
from app_extensions.openscan import lifecycle
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.dispatch import dispatch_on_commit
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.locks import job_lock
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.processing.nodes import Places

logger = logging.getLogger("app.logger")

#: Used until the site has processed a scan. This is a fast node's pace at full photo size.
FIRST_GUESS_SECONDS_PER_PHOTO = 5.0
_RECENT = 20


#: The queue in SQL. A turn belongs to a token, or to one client of a public token. Each running scan counts as a turn taken.
_LINE = """
    WITH running AS (
        SELECT token_id, client_address, COUNT(*) AS number FROM openscan_scan WHERE state = 'released' GROUP BY 1, 2
    ), line AS (
        SELECT s.id, s.token_id, t.kind = 'public' AS is_public, s.started_at, t.owner_id, s.retry_at, s.tried_nodes,
               s.queue_rank,
               CASE WHEN s.images_count > 0 THEN s.images_count ELSE s.photos END AS photos,
               COALESCE(r.number, 0)
                   + ROW_NUMBER() OVER (PARTITION BY s.token_id, s.client_address ORDER BY s.started_at, s.id) AS turn
        FROM openscan_scan s JOIN openscan_token t ON t.id = s.token_id
        LEFT JOIN running r ON r.token_id = s.token_id AND r.client_address = s.client_address
        WHERE s.state = ANY(%s) AND NOT s.on_hold
    ) """
#: The order of the queue, first to last.
_ORDER = "queue_rank, is_public, turn, started_at, id"
_IN_ORDER = _LINE + f"""
    SELECT id, token_id, is_public, started_at, photos, owner_id, retry_at, tried_nodes FROM line
    ORDER BY {_ORDER}"""  # noqa: S608 - constants only
_FRONT = _LINE + f""", placed AS (
        SELECT id, owner_id, ROW_NUMBER() OVER (ORDER BY {_ORDER}) AS place FROM line
    )
    SELECT id, place, COUNT(*) OVER () FROM placed WHERE %s OR owner_id = %s ORDER BY place LIMIT %s"""  # noqa: S608
_POSITION = _LINE + f"""
    SELECT COUNT(*) FROM line WHERE ({_ORDER}) <= (SELECT {_ORDER} FROM line WHERE id = %s)"""  # noqa: S608
#: The scans ahead of one that would be sent now. Its turn comes after all running and waiting scans of the same client.
_AHEAD = _LINE + """
    SELECT COUNT(*), COALESCE(SUM(photos), 0) FROM line WHERE (queue_rank, is_public, turn) <= (0, %s, 1 + (
        SELECT COUNT(*) FROM openscan_scan WHERE token_id = %s AND client_address = %s AND state = ANY(%s)))"""  # noqa: S608
_WAITING = [Scan.APPROVED]
_ON_THEIR_WAY = [Scan.APPROVED, Scan.INITIALIZED]


class Waiting(NamedTuple):
    """A scan in the queue, with what is needed to hand it over."""

    pk: int
    token_id: int
    is_public: bool
    started_at: Any
    photos: int
    owner_id: Optional[int]
    retry_at: Any
    tried_nodes: str


def waiting_scans() -> "list[Waiting]":
    """The approved scans in the order in which they will be released."""
    with connection.cursor() as cursor:
        cursor.execute(_IN_ORDER, [_WAITING])
        return [Waiting(*row) for row in cursor.fetchall()]


class Front(NamedTuple):
    """The scans that are released next: their places by scan id, in order, and how many scans wait in all."""

    places: "dict[int, int]"
    waiting: int


def front(most: int, owner_id: Optional[int] = None) -> Front:
    """The first scans in the queue, for a page.

    :param most: how many at most
    :param owner_id: only scans of this WebODM user's tokens, with their places in the whole queue
    """
    with connection.cursor() as cursor:
        cursor.execute(_FRONT, [_WAITING, owner_id is None, owner_id, most])
        rows = cursor.fetchall()
    return Front({pk: place for pk, place, _ in rows}, rows[0][2] if rows else 0)


def waiting_count() -> int:
    """How many scans wait."""
    return Scan.objects.filter(state=Scan.APPROVED).count()


def position(scan: Scan) -> int:
    """A waiting scan's place from 1, 0 if it does not wait."""
    with connection.cursor() as cursor:
        cursor.execute(_POSITION, [_WAITING, scan.pk])
        return cursor.fetchone()[0]


def what_it_waits_for(scan: Scan) -> str:
    """One sentence for the owner of a waiting scan that cannot proceed by itself, else empty."""
    if scan.on_hold:
        return "An administrator of this site has put it on hold; ask them if it takes long."
    owner = tokens.token_owner(scan.token)
    if owner is None:
        return "The WebODM user of this token was deleted; ask the site's administrator to choose another one."
    online = [node for node in host_nodes.nodes_for(owner) if node.online]
    if not online:
        return "Waiting: no processing node that this token's WebODM user may use is online; ask the site's administrator."
    if not _large_enough(online, scan.images_count):
        most = max(node.max_images or 0 for node in online)
        return (f"Waiting: the set has {scan.images_count} photos, and the processing nodes that are online take {most} at most; "
                "send fewer photos, or ask the site's administrator.")
    if scan.moves:
        return "Its processing node failed, but not because of the photos; another one will process it, free of charge."
    if not Places().usable(owner):
        return "Waiting: the processing nodes that are online had problems and get no scans for a while."
    return ""


def release(patience_seconds: float = 5) -> int:
    """Hand over to WebODM the scans that there is room for. Only one process does this at a time.

    :param patience_seconds: how long to wait for another process that does this; a periodic job comes back later
    :return: how many scans were handed over
    """
    with job_lock("openscan.queue", patience_seconds) as mine:
        if not mine:
            return 0
        released, places = 0, Places()
        rooms: dict[Optional[int], _Room] = {}
        for entry in waiting_scans():
            if entry.retry_at is not None and entry.retry_at > timezone.now():
                continue
            if entry.owner_id not in rooms:
                rooms[entry.owner_id] = _room(entry.owner_id, places)
            room = rooms[entry.owner_id]
            node = _choose(entry, room)
            if node is None:
                continue
            with log_fields(scan=entry.pk):
                if _hand_over(entry, room.owner, node, alone=len(host_nodes.nodes_for(room.owner)) == 1):
                    released += 1
                    rooms.clear()  # owners share nodes, so compute the room again for the next scan
        return released


class _Room(NamedTuple):
    """The room on an owner's nodes."""

    owner: Any
    usable: "list[Any]"
    free: "dict[int, int]"


def _room(owner_id: Optional[int], places: Places) -> _Room:
    owner = tokens.user(owner_id)
    usable = places.usable(owner) if owner is not None else []
    return _Room(owner, usable, _free_places(owner, usable, places) if usable else {})


def hold(scan: Scan) -> bool:
    """Keep a scan in the queue until somebody lets it go. False if the scan is not waiting."""
    return bool(Scan.objects.filter(pk=scan.pk, state__in=(Scan.INITIALIZED, Scan.APPROVED)).update(on_hold=True))


def let_go(scan: Scan) -> bool:
    """Let a scan go that was on hold. False if it was not."""
    changed = bool(Scan.objects.filter(pk=scan.pk, on_hold=True).update(on_hold=False))
    dispatch_on_commit("release_queue")
    return changed


def move_to_front(scan: Scan) -> bool:
    """Put a scan in front of everything else that waits. False if it does not wait."""
    with transaction.atomic():
        waiting = Scan.objects.select_for_update().filter(state__in=(Scan.INITIALIZED, Scan.APPROVED))
        ranks = dict(waiting.values_list("pk", "queue_rank"))
        if scan.pk not in ranks:
            return False
        return bool(Scan.objects.filter(pk=scan.pk).update(queue_rank=min(0, *ranks.values(), 0) - 1, on_hold=False))


def _large_enough(nodes: "list[Any]", photos: int) -> "list[Any]":
    return [node for node in nodes if not node.max_images or node.max_images >= photos]


def _free_places(owner: Any, nodes: "list[Any]", places: Places) -> "dict[int, int]":
    """How many more tasks each of an owner's nodes takes, by what WebODM knows of them.

    In total it is no more than our own released scans leave free, since a task that was just handed over may not show on any node
    yet. Released scans that are on other nodes, or that can only go to other nodes, do not count.
    """
    ids = {node.id for node in nodes}
    ours = 0
    released = list(Scan.objects.filter(state=Scan.RELEASED).values_list("webodm_task_id", "token__owner_id"))
    placed = host_tasks.nodes_of(task_id for task_id, _ in released if task_id)
    shares: dict[Optional[int], bool] = {None: False, owner.pk: True}
    for task_id, other_id in released:
        place = placed.get(task_id)
        if place is not None and place not in ids:
            continue
        if other_id not in shares:
            other = tokens.user(other_id)
            shares[other_id] = other is not None and bool(ids & {node.id for node in host_nodes.nodes_for(other)})
        ours += shares[other_id]
    by_node = {key: free for key, free in host_nodes.places_by_node(owner, places).items() if key in ids}
    left = min(sum(map(places, nodes)) - ours, host_nodes.free_places(owner, places, refresh=False))
    return by_node if left > 0 else dict.fromkeys(by_node, 0)


def _choose(scan: Waiting, room: _Room) -> Optional[Any]:
    """The node for a scan: large enough, if possible not one that failed this scan before, and with the most room."""
    if not any(room.free.values()):
        return None
    fitting = _large_enough(room.usable, scan.photos)
    tried = {int(number) for number in scan.tried_nodes.split(",") if number}
    fitting = [node for node in fitting if node.id not in tried] or fitting
    fitting = [node for node in fitting if room.free.get(node.id)]
    return max(fitting, key=lambda node: (room.free[node.id], -(node.queue_count or 0), -node.id), default=None)


def _hand_over(scan: Waiting, owner: Any, node: Any, alone: bool) -> bool:
    """:param alone: this is the owner's only node, so WebODM finds it by itself"""
    options = _options(owner, [node])
    with transaction.atomic():
        row = Scan.objects.select_for_update().filter(pk=scan.pk, state=Scan.APPROVED, on_hold=False).first()
        task = host_tasks.get_task(row.webodm_task_id) if row is not None and row.webodm_task_id else None
        if row is None or task is None:
            if row is not None:
                dispatch_on_commit("finish_scan", row.pk)  # its task was deleted in WebODM
            return False
        state = host_tasks.task_state(task)
        if state.pending_action == "remove":
            return False  # its owner has just deleted it; starting it would undo that
        lifecycle.apply(row.pk, lifecycle.HAND_OVER, why=f"Node {node.label} has room.")
        # If its owner started the task by hand in WebODM, it is already on its way.
        if state.status == "waiting":
            # Left alone, WebODM would choose by queue length only, and a ClusterODM's queue is always empty.
            host_tasks.commit_task(task, options=options, node_id=None if alone else node.id)
    logger.info("OpenScan: scan %s (%d photos) handed to WebODM as task %s, node %s", row.pk, row.images_count,
                row.webodm_task_id, node.label)
    return True


def _options(owner: Any, nodes: "list[Any]") -> "list[dict]":
    """The preset's options that every node which may get the task knows."""
    try:
        options = presets.preset_options(conf.preset, owner)
    except LookupError:
        logger.error("OpenScan: WebODM has no preset %r (WO_OPENSCAN_PRESET); its nodes' defaults are used", conf.preset)
        return []
    for node in nodes:
        options = presets.filter_options(options, node)
    return with_glb(options, nodes)


def with_glb(options: "list[dict]", nodes: "list[Any]") -> "list[dict]":
    """Add ODM's `gltf` to the options if every node that may get the task knows it: a scan's page displays a GLB."""
    if nodes and all("gltf" in node.option_names for node in nodes) and all(option["name"] != "gltf" for option in options):
        return [*options, {"name": "gltf", "value": True}]
    return options


def retry(scan: Scan, actor: str = "") -> None:
    """Restart a scan from the step where it got stuck or failed, free of charge.

    :param actor: the administrator who asked for it
    :raises OpenScanError: nothing is left to try again with, or there is nothing to try
    """
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        task = host_tasks.get_task(row.webodm_task_id) if row.webodm_task_id else None
        complete = row.parts.count() == row.parts_count
        if row.state == Scan.INITIALIZED or (row.state == Scan.FAILED and row.released_at is None and complete):
            # The task of a refused attempt is being removed, so the new attempt gets its own.
            leaving = task is not None and host_tasks.task_state(task).pending_action == "remove"
            fields: dict[str, Any] = {"webodm_task_id": None} if leaving else {}
            lifecycle.apply(row.pk, lifecycle.RETRY_INGEST, actor=actor, **fields)
        elif row.state == Scan.FAILED and row.released_at is None:
            raise OpenScanError("The set was refused and what was uploaded is deleted; its owner has to send it again.")
        elif row.state in (Scan.FAILED, Scan.RELEASED, Scan.DONE, Scan.EXPIRED) and task is not None:
            _process_again(row, task, actor)
        else:
            raise OpenScanError(f"A scan that is {row.state} cannot be tried again.")
    scan.refresh_from_db()


def _process_again(row: Scan, task: Any, actor: str) -> None:
    state = host_tasks.task_state(task)
    if state.status in ("queued", "running"):
        raise OpenScanError("Its task is being processed already.")
    if state.status == "completed":
        # Processing succeeded, so only the result is packed again.
        lifecycle.apply(row.pk, lifecycle.REPACK, actor=actor)
        return
    lifecycle.apply(row.pk, lifecycle.RETRY, actor=actor)
    host_tasks.restart_task(task)


def seconds_per_photo() -> float:
    """Seconds per photo that the last scans on this site took to process."""
    recent = list(
        Scan.objects.filter(processing_seconds__gt=0, images_count__gt=0, finished_at__isnull=False)
        .order_by("-finished_at").values_list("processing_seconds", "images_count")[:_RECENT]
    )
    if not recent:
        return FIRST_GUESS_SECONDS_PER_PHOTO
    return sum(seconds for seconds, _ in recent) / sum(photos for _, photos in recent)


def estimate_seconds(token: Optional[Token] = None, address: str = "") -> int:
    """How many seconds a set sent now would wait until its processing begins; 0 if a node is free.

    :param token: the token of the set; without one, a public token's place in the queue is assumed
    :param address: the client's address
    """
    is_public = token.is_public if token else True
    client = address if is_public else ""
    with connection.cursor() as cursor:
        cursor.execute(_AHEAD, [_ON_THEIR_WAY, is_public, token.pk if token else 0, client, [*_ON_THEIR_WAY, Scan.RELEASED]])
        number, photos = cursor.fetchone()
    running = list(Scan.objects.filter(state=Scan.RELEASED).values_list("images_count", "webodm_task_id"))
    slots = max(1, _slots(token))
    if len(running) + number < slots:
        return 0
    tasks = host_tasks.task_rows(task_id for _, task_id in running if task_id)
    photos_ahead = int(photos) + sum(_photos_left(count, tasks.get(task_id)) for count, task_id in running)
    return max(0, int(round(photos_ahead * seconds_per_photo() / slots)))


def wait_seconds(scan: Scan) -> int:
    """How many seconds a waiting scan will probably wait until its processing begins; 0 if it is next and a node is free."""
    line = waiting_scans()
    ahead = []
    for entry in line:
        if entry.pk == scan.pk:
            break
        ahead.append(entry.photos)
    running = list(Scan.objects.filter(state=Scan.RELEASED).values_list("images_count", "webodm_task_id"))
    slots = max(1, _slots(scan.token))
    if len(running) + len(ahead) < slots:
        return 0
    tasks = host_tasks.task_rows(task_id for _, task_id in running if task_id)
    photos_ahead = sum(ahead) + sum(_photos_left(count, tasks.get(task_id)) for count, task_id in running)
    return max(0, int(round(photos_ahead * seconds_per_photo() / slots)))


def _photos_left(photos: int, task: Optional[Any]) -> float:
    if task is None:
        return 0.0
    state = host_tasks.task_state(task)
    return photos * (1.0 - state.progress) if state.status in ("running", "queued", "waiting") else 0.0


def _slots(token: Optional[Token]) -> int:
    try:
        owner = tokens.token_owner(token) if token is not None else tokens.default_owner()
    except OpenScanError:
        owner = None
    if owner is None:
        return 0
    places = Places()
    return sum(map(places, places.usable(owner)))
