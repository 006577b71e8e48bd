"""A scan's states: the table, the one function that applies it, and that nothing else does."""
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from app_extensions.openscan import lifecycle
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import LedgerEntry, OutgoingMail, Scan, ScanEvent
from tests.openscan.flow import started_scan
from tests.openscan.helpers import MB, in_processes, kept_files, new_scan, private_token

ROOT = Path(__file__).resolve().parents[2]
STATES = {state for state, _ in Scan.STATES}
#: Modules whose rows have their own states: token requests, mail, and what lies in object storage.
OTHER_STATES = ("app_extensions/openscan/accounts/token_requests.py", "app_extensions/openscan/results/object_storage/",
                "app_extensions/tapis/", "app_extensions/shared/mail.py")


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for event, transition in lifecycle.TABLE.items():
        for source in transition.sources:
            arrows.setdefault((source or "[*]", transition.target), []).append(event)
    return "\n".join(["stateDiagram-v2", *(f"    {source} --> {target}: {', '.join(events)}"
                                           for (source, target), events in arrows.items())])


def listing() -> str:
    """The table as Markdown."""
    lines = ["| event | from | to | booked | mail | dropped | next job |", "|---|---|---|---|---|---|---|"]
    for event, row in lifecycle.TABLE.items():
        cells = (event, ", ".join(row.sources) or "(new)", row.target, row.books, row.mails, ", ".join(row.drops), row.job)
        lines.append("| " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines).replace("|  |", "| (new) |")


@pytest.mark.parametrize("text", [diagram, listing])
def test_the_documentation_shows_the_table(text):
    documented = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    assert text() in documented, f"docs/contributing/architecture.md must contain:\n{text()}"


def test_every_state_can_be_reached_and_left_and_every_word_is_known():
    table = lifecycle.TABLE.values()
    assert {row.target for row in table} == STATES
    assert {source for row in table for source in row.sources} == STATES - {Scan.RESET} | {lifecycle.NEW}
    assert {row.books for row in table} == {"", "hold", "hold nothing", "post", "void", "refund"}
    fields = {field.name for field in Scan._meta.get_fields()}
    assert {name for row in table for name in (*row.values, *filter(None, [row.stamp]))} <= fields
    assert all(len(event) <= ScanEvent._meta.get_field("event").max_length for event in lifecycle.TABLE)


def writes_of_state(path: Path) -> Iterator[int]:
    """Lines that write an attribute or a field called `state`: assignments, setattr, and keywords of calls that write rows."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store):
            yield node.lineno
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("update", "create", "get_or_create", "update_or_create", "Scan") and any(k.arg == "state" for k in node.keywords):
                yield node.lineno
            if name == "setattr" and any(isinstance(argument, ast.Constant) and argument.value == "state" for argument in node.args):
                yield node.lineno


def test_only_the_lifecycle_writes_a_scans_state():
    found = [f"{path.relative_to(ROOT)}:{line}" for folder in ("app_extensions", "plugins")
             for path in sorted((ROOT / folder).rglob("*.py")) for line in writes_of_state(path)]
    ours = [place for place in found if not place.startswith(OTHER_STATES)]
    assert {place.split(":")[0] for place in ours} == {"app_extensions/openscan/lifecycle.py"}, ours


def test_modules_with_states_of_their_own_do_not_write_a_scans():
    """They write only states of their own models, never one of `Scan`'s."""
    for path in sorted((ROOT / "app_extensions").rglob("*.py")):
        if not str(path.relative_to(ROOT)).startswith(OTHER_STATES):
            continue
        lines = path.read_text().splitlines()
        for number in writes_of_state(path):
            assert "Scan." not in lines[number - 1].replace("StoredObject", ""), f"{path}:{number}"


class TestApply:
    @pytest.fixture(autouse=True)
    def nobody_works(self, settings, live_db):
        settings.OPENSCAN_CELERY_QUEUE = "nobody"

    def test_an_event_changes_books_drops_tells_and_is_remembered(self):
        scan = started_scan(private_token()[0], [b"x" * 100, b"y" * 50])
        mails = OutgoingMail.objects.filter(kind="failed").count()
        row = lifecycle.apply(scan.pk, lifecycle.REFUSE, why="The archive is damaged.", error="The archive is damaged.")
        assert (row.state, row.error, row.charge) == (Scan.FAILED, "The archive is damaged.", Scan.VOIDED)
        assert row.finished_at is not None and not row.parts.exists()
        assert OutgoingMail.objects.filter(kind="failed").count() == mails + 1
        event = row.events.last()
        assert (event.event, event.from_state, event.to_state, event.why) == (
            "refuse", "initialized", "failed", "The archive is damaged.")

    def test_an_event_that_does_not_start_from_this_state_changes_nothing(self):
        scan = new_scan(private_token()[0])
        before = Scan.objects.filter(pk=scan.pk).values().get()
        for event, transition in lifecycle.TABLE.items():
            if Scan.CREATED not in transition.sources:
                assert lifecycle.apply(scan.pk, event) is None, event
        assert Scan.objects.filter(pk=scan.pk).values().get() == before and scan.events.count() == 1

    def test_a_scan_is_created_held_and_remembered_or_not_at_all(self):
        token, _ = private_token(10 * MB)
        scan = new_scan(token, 8 * MB)
        assert [(e.event, e.from_state, e.to_state) for e in scan.events.all()] == [("create", "", "created")]
        with pytest.raises(OpenScanError):
            new_scan(token, 8 * MB)
        assert token.scans.count() == 1 and ScanEvent.objects.filter(scan__token=token).count() == 1

    def test_nothing_of_an_event_is_kept_if_one_of_its_effects_fails(self):
        """Another cut that the credit does not suffice for: the old parts, hold and links stay."""
        token, _ = private_token(10 * MB)
        scan = new_scan(token, 8 * MB)
        before = Scan.objects.filter(pk=scan.pk).values().get()
        with pytest.raises(OpenScanError):
            scans.create_scan(token, scan.name, photos=1, parts=1, filesize_bytes=11 * MB)
        assert Scan.objects.filter(pk=scan.pk).values().get() == before and scan.events.count() == 1

    def test_the_books_of_a_whole_life(self):
        """Each event books what the table says, and a repeated one books nothing."""
        scan = started_scan(private_token()[0], [b"x" * 100])
        for event, kinds in ((lifecycle.APPROVE, ["hold", "post"]), (lifecycle.HAND_OVER, ["hold", "post"]),
                             (lifecycle.FAIL, ["hold", "post", "refund"]), (lifecycle.RESTART, ["hold", "post", "refund"]),
                             (lifecycle.FAIL, ["hold", "post", "refund"]), (lifecycle.RESET, ["hold", "post", "refund"])):
            row = lifecycle.apply(scan.pk, event)
            assert row.state == lifecycle.TABLE[event].target
            assert list(LedgerEntry.objects.filter(scan=scan).order_by("pk").values_list("kind", flat=True)) == kinds


def hand_over(scan_id: int) -> bool:
    return lifecycle.apply(scan_id, lifecycle.HAND_OVER) is not None


def test_of_many_processes_one_applies_an_event(live_db, settings):
    settings.OPENSCAN_CELERY_QUEUE = "nobody"
    scan = new_scan(private_token()[0])
    Scan.objects.filter(pk=scan.pk).update(state=Scan.APPROVED, started_at=timezone.now())
    assert sorted(in_processes(hand_over, [scan.pk] * 4)) == [False, False, False, True]
    assert scan.events.filter(event=lifecycle.HAND_OVER).count() == 1


def test_parts_of_a_dropped_scan_go_with_the_commit(live_db, settings):
    settings.OPENSCAN_CELERY_QUEUE = "nobody"
    scan = started_scan(private_token()[0], [b"x" * 100, b"y" * 50])
    assert len(kept_files(scan)) == 2
    lifecycle.apply(scan.pk, lifecycle.RESET)
    assert kept_files(scan) == []
