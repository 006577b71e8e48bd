"""A scan's states: every transition in one table, and the one function that applies it.

Each row of ``TABLE`` says from where to where an event takes a scan, what is booked, who is notified, what is dropped and which job
follows. ``apply`` does all of it in one transaction under the scan's row lock and adds a line to the scan's history; files are
removed and jobs are queued once that transaction is committed. No other code writes ``Scan.state``.

Why no library: django-fsm guards a field of one instance in memory, but it locks no row, and its transitions are decorators spread
over model methods; here the table is the point and the lock is what keeps it true.
"""
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import ledger, shares
from app_extensions.openscan.dispatch import dispatch_on_commit
from app_extensions.openscan.models import Scan, ScanEvent
from app_extensions.openscan.notices import messages
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import records

NEW = ""
#: States that a scan can be in once its task has been given to WebODM.
HANDED_OVER = (Scan.APPROVED, Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED)
_ANY_BUT_RESET = (Scan.CREATED, Scan.INITIALIZED, *HANDED_OVER)

# What is booked, who is notified, what is dropped.
HOLD, UNHOLD, POST, VOID, REFUND = "hold", "hold nothing", "post", "void", "refund"
MAIL_DONE, MAIL_FAILED, MAIL_GONE = "done", "failed", "gone"
PARTS, RESULT, TASK_POINTER = "parts", "result", "task pointer"

# Jobs that follow.
INGEST, RELEASE, FINISH, DISCARD = "ingest_scan", "release_queue", "finish_scan", "discard_scan"

# Events.
CREATE, RECUT, LAPSE, RESUME, START, ABANDON = "create", "recut", "lapse", "resume", "start", "abandon"
APPROVE, REFUSE, GIVE_UP = "approve", "refuse", "give up"
HAND_OVER, MOVE = "hand over", "move"
COMPLETE, FAIL, FAIL_BY_PHOTOS, CANCEL = "complete", "fail", "fail by photos", "cancel"
LOSE_TASK, LOSE_RESULT, FORGET_TASK, EXPIRE, RESET = "lose task", "lose result", "forget task", "expire", "reset"
RESTART, RETRY_INGEST, RETRY, REPACK = "restart", "retry ingest", "retry", "repack"


class Transition(NamedTuple):
    """One row of the table.

    sources: states it may start from. stamp: the time field that is set to now. values: fields that get a fixed value.
    why: the sentence for the history if the caller gives none.
    """

    sources: tuple[str, ...]
    target: str
    why: str
    books: str = ""
    mails: str = ""
    drops: tuple[str, ...] = ()
    job: str = ""
    stamp: str = ""
    values: Mapping[str, Any] = MappingProxyType({})


_STARTS_OVER = {"error": "", "finished_at": None, "retry_at": None, "moves": 0, "tried_nodes": ""}

TABLE: Mapping[str, Transition] = MappingProxyType({
    CREATE: Transition((NEW,), Scan.CREATED, "createProject was called.", books=HOLD),
    RECUT: Transition((Scan.CREATED,), Scan.CREATED, "createProject was called again with other parts or another size.", books=HOLD,
                      drops=(PARTS,), values={"received_bytes": 0}),
    LAPSE: Transition((Scan.CREATED,), Scan.CREATED, "No byte arrived in time; the public token's credit is free for others.",
                      books=UNHOLD),
    RESUME: Transition((Scan.CREATED,), Scan.CREATED, "Its credit had lapsed and is held again.", books=HOLD),
    START: Transition((Scan.CREATED,), Scan.INITIALIZED, "startProject was called and all parts are there.", job=INGEST,
                      stamp="started_at"),
    ABANDON: Transition((Scan.CREATED,), Scan.EXPIRED, "Nobody started it in time.", books=VOID, drops=(PARTS,), stamp="expired_at",
                        values={"received_bytes": 0}),
    APPROVE: Transition((Scan.INITIALIZED,), Scan.APPROVED, "The photos are in a waiting WebODM task.", books=POST, drops=(PARTS,),
                        job=RELEASE, stamp="approved_at", values={"error": "", "retry_at": None}),
    REFUSE: Transition((Scan.INITIALIZED,), Scan.FAILED, "The set cannot be used.", books=VOID, mails=MAIL_FAILED, drops=(PARTS,),
                       job=DISCARD, stamp="finished_at", values={"retry_at": None}),
    GIVE_UP: Transition((Scan.INITIALIZED,), Scan.FAILED, "The server could not read the set; its parts are kept for a retry.",
                        books=VOID, mails=MAIL_FAILED, job=DISCARD, stamp="finished_at", values={"retry_at": None}),
    HAND_OVER: Transition((Scan.APPROVED,), Scan.RELEASED, "A processing node has room.", stamp="released_at",
                          values={"retry_at": None}),
    MOVE: Transition((Scan.RELEASED,), Scan.APPROVED, "Its processing node failed.", job=RELEASE, values={"released_at": None}),
    COMPLETE: Transition(HANDED_OVER, Scan.DONE, "The model is packed.", mails=MAIL_DONE, drops=(RESULT,), job=RELEASE,
                         stamp="finished_at", values={"error": "", "expired_at": None, "finish_attempts": 0, "retry_at": None}),
    FAIL: Transition(HANDED_OVER, Scan.FAILED, "Processing failed.", books=REFUND, mails=MAIL_FAILED, drops=(RESULT,), job=RELEASE,
                     stamp="finished_at"),
    FAIL_BY_PHOTOS: Transition(HANDED_OVER, Scan.FAILED, "The photos do not make a model.", mails=MAIL_FAILED, drops=(RESULT,),
                               job=RELEASE, stamp="finished_at"),
    CANCEL: Transition(HANDED_OVER, Scan.FAILED, "The task was canceled in WebODM.", mails=MAIL_FAILED, drops=(RESULT,), job=RELEASE,
                       stamp="finished_at"),
    LOSE_TASK: Transition((Scan.APPROVED, Scan.RELEASED), Scan.EXPIRED, "The task was deleted in WebODM before there was a model.",
                          books=REFUND, mails=MAIL_FAILED, drops=(RESULT, TASK_POINTER), job=RELEASE, stamp="expired_at"),
    LOSE_RESULT: Transition((Scan.DONE,), Scan.EXPIRED, "The task was deleted in WebODM, and the result with it.", mails=MAIL_GONE,
                            drops=(RESULT, TASK_POINTER), stamp="expired_at"),
    FORGET_TASK: Transition((Scan.FAILED, Scan.EXPIRED), Scan.EXPIRED, "The task was deleted in WebODM.",
                            drops=(RESULT, TASK_POINTER), stamp="expired_at"),
    EXPIRE: Transition((Scan.DONE,), Scan.EXPIRED, "The time to download the result is over.", drops=(RESULT,), stamp="expired_at"),
    RESET: Transition(_ANY_BUT_RESET, Scan.RESET, "resetProject was called.", books=VOID, drops=(PARTS,), job=DISCARD,
                      stamp="reset_at", values={"received_bytes": 0}),
    RESTART: Transition((Scan.FAILED,), Scan.RELEASED, "The task was restarted in WebODM.", values=_STARTS_OVER),
    RETRY_INGEST: Transition((Scan.INITIALIZED, Scan.FAILED), Scan.INITIALIZED, "An administrator started reading the set again.",
                             job=INGEST, values={"error": "", "ingest_attempts": 0, "retry_at": None, "finished_at": None}),
    RETRY: Transition((Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED), Scan.RELEASED,
                      "An administrator started processing it again.", values=_STARTS_OVER),
    REPACK: Transition((Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED), Scan.RELEASED,
                       "An administrator started packing the result again.", job=FINISH,
                       values={"result_source": "", "retry_at": None, "finish_attempts": 0}),
})


def create(**fields: Any) -> Scan:
    """Create a scan and hold its credit.

    :param fields: fields of the new row
    :raises OpenScanError: there is too little credit; nothing is created then
    """
    transition = TABLE[CREATE]
    with transaction.atomic():
        row = Scan.objects.create(state=transition.target, created_at=timezone.now(), **fields)
        _follow(row, NEW, CREATE, transition.why, actor="")
    return row


def apply(scan_id: int, event: str, *, why: str = "", actor: str = "", **fields: Any) -> Optional[Scan]:
    """Apply an event of ``TABLE`` to a scan, all of it or nothing.

    :param why: one sentence for the history, for people
    :param actor: the user who asked for it, empty for clients and for the program itself
    :param fields: other fields of the row that change with the state
    :return: the locked and updated row, or None if the event cannot start from the scan's state
    :raises OpenScanError: the event holds credit and the token has too little
    """
    transition = TABLE[event]
    with transaction.atomic():
        row = Scan.objects.select_for_update().filter(pk=scan_id, state__in=transition.sources).first()
        if row is None:
            return None
        before = row.state
        changes = {**transition.values, **fields, "state": transition.target}
        if transition.stamp:
            changes.setdefault(transition.stamp, timezone.now())
        _drop(row, transition.drops, changes)
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(update_fields=list(changes))
        _follow(row, before, event, why or transition.why, actor)
    return row


def _drop(row: Scan, drops: tuple[str, ...], changes: dict[str, Any]) -> None:
    if PARTS in drops:
        part_files.drop_parts(row)
    if RESULT in drops:
        if "result_object" not in changes:  # else the caller sets a new one and has let go of the old one
            records.let_go(row)
            changes["result_object"] = row.result_object
        transaction.on_commit(partial(packing.remove_file, row.result_file))
        changes.setdefault("result_file", "")
        changes.setdefault("result_bytes", 0)
    if TASK_POINTER in drops:
        changes["webodm_task_id"] = None


def _follow(row: Scan, before: str, event: str, why: str, actor: str) -> None:
    """After a row has changed: book credit, queue mail and the next job, and write the scan's history."""
    transition = TABLE[event]
    if transition.books == HOLD:
        ledger.hold(row, row.declared_bytes)
    elif transition.books == UNHOLD:
        ledger.hold(row, 0)
    elif transition.books == POST:
        ledger.post(row)
    elif transition.books == VOID:
        ledger.void(row, note=why)
    elif transition.books == REFUND:
        ledger.refund(row, note=why)
    if event == REFUSE:
        shares.count_refusal(row.token, row.client_address)
    if transition.mails == MAIL_DONE:
        messages.scan_done(row, packing.result_url(row))
    elif transition.mails == MAIL_FAILED:
        messages.scan_failed(row)
    elif transition.mails == MAIL_GONE:
        messages.scan_gone(row)
    ScanEvent.objects.create(scan=row, event=event, from_state=before, to_state=row.state, why=why[:500], actor=actor[:150])
    if transition.job == RELEASE:
        dispatch_on_commit(RELEASE)
    elif transition.job and (transition.job != DISCARD or row.started_at or row.webodm_task_id):
        dispatch_on_commit(transition.job, row.pk)
