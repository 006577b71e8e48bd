"""getProjectInfo while the site holds 10,000 scans, against 10."""
import base64
import datetime
import random
import statistics
import uuid
from urllib.parse import urlencode

from dev.benchmarks.http import get
from dev.benchmarks.table import Row
from dev.sandbox.stack import Stack

FEW, MANY = 10, 10_000
REQUESTS = 300
BOUND = 1.2


def measure(stack: Stack) -> list[Row]:
    """The median of 300 requests over all scans: with ten, with ten thousand, and with ten again, as the machine may drift."""
    from app_extensions.openscan.accounts import tokens
    from app_extensions.openscan.models import Scan

    token, secret = tokens.create_token(forename="Bench", surname="Mark", mail="info@example.org", credit_bytes=1)
    few = _add_scans(token, FEW)
    before = _median(stack, secret, few)
    many = few + _add_scans(token, MANY - FEW)
    large = _median(stack, secret, many)
    from app.models import Task

    extra = Scan.objects.filter(token=token).exclude(name__in=few)
    Task.objects.filter(pk__in=extra.exclude(webodm_task_id=None).values_list("webodm_task_id", flat=True))._raw_delete("default")
    extra.delete()
    small = (before + _median(stack, secret, few)) / 2
    return [Row("getProjectInfo: median ms, 10,000 scans against 10", f"{large * 1000:.1f}", f"{small * 1000:.1f}", large / small, BOUND)]


def _add_scans(token, count: int) -> list[str]:
    """Scans of one token, half of them waiting for their two parts, half done with a task in WebODM; returns their names."""
    from app.models import Project, Task
    from django.contrib.auth.models import User
    from django.utils import timezone

    from app_extensions.openscan.models import Scan

    project = Project.objects.get_or_create(name="bench", owner=User.objects.filter(is_superuser=True).first())[0]
    now = timezone.now()
    later = now + datetime.timedelta(days=1)
    common = {"token": token, "photos": 100, "parts_count": 2, "declared_bytes": 1000, "upload_nonce": uuid.uuid4().hex[:16],
              "links_expire_at": later}
    tasks = Task.objects.bulk_create([
        Task(id=uuid.uuid4(), project=project, name=f"bench {number}", status=40, auto_processing_node=False)
        for number in range(count // 2)
    ])
    done = [
        Scan(name=uuid.uuid4().hex, state=Scan.DONE, released_at=now, finished_at=now, webodm_project_id=project.pk, webodm_task_id=task.id,
             result_file="x.zip", result_bytes=1, result_link=uuid.uuid4().hex, result_expires_at=later, result_source="none", **common)
        for task in tasks
    ]
    waiting = Scan.objects.bulk_create([Scan(name=uuid.uuid4().hex, **common) for _ in range(count - len(done))])
    return [scan.name for scan in [*Scan.objects.bulk_create(done), *waiting]]


def _median(stack: Stack, secret: str, names: list[str]) -> float:
    basic = base64.b64encode(b"openscan:free").decode()
    seconds = []
    for number in range(REQUESTS + 30):
        query = urlencode({"token": secret, "project": random.choice(names)})
        answer = get(f"{stack.address()}/api/openscan/getProjectInfo?{query}", Authorization=f"Basic {basic}")
        if answer.status != 200:
            raise RuntimeError(f"getProjectInfo answered {answer.status}: {answer.body[:300]!r}")
        if number >= 30:
            seconds.append(answer.seconds)
    return statistics.median(seconds)
