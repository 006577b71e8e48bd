"""Discovery and syncs against the stand-in Tapis with 50 ms of latency, each beside the plain way in the same run.

``./webodm.sh bench tapis``. What counts are ratios: both sides of each run on the same machine, minutes apart. ``bench tapis scale``
is the size of an institute (``tapis_scale.py``).
"""
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "dev" / "sandbox" / "host")]

LATENCY_MS = 50
PREFIX = "ptdatax.project."


class Bench:
    """A stand-in Tapis with a database and a user, and the table of what was measured."""

    def __init__(self, data: Path) -> None:
        from dev.sandbox.stack import Stack

        self.stack = Stack(data, tapis=True, extra_env={"WO_TAPIS_BATCH_SECONDS": "600"})
        self.rows: list[tuple[str, str, str, str, bool]] = []

    def start(self) -> None:
        """Bring up what the measurements need, and set Django up in this process."""
        self.stack.prepare_files()
        self.stack.start_database()
        self.stack.start(["redis"])
        self.stack.provision()
        self.stack.start(["tapis"])
        os.environ.update({key: value for key, value in self.stack.django_env().items() if key != "PYTHONPATH"})
        import django

        django.setup()
        from tests.support.flights import Flyer
        from tests.support.tapis import StandIn

        self.tapis = StandIn(self.stack.address("tapis"))
        self.tapis.settings(latency_ms=LATENCY_MS)
        self.flyer = Flyer(self.stack.address(), self.tapis, "bench")

    def tell(self, what: str, ours: str, other: str, ratio: float, limit: float) -> None:
        """Note a ratio and whether it is within its limit (0: none is set)."""
        good = not limit or ratio <= limit
        wanted = f"<= {limit:.2f}" if limit else "-"
        self.rows.append((what, f"{ours} / {other}", f"{ratio:.3f}", wanted, good))
        print(f"  {what}: {ours} against {other}: {ratio:.3f} ({wanted}){'' if good else '  MISSED'}", flush=True)

    def table(self) -> bool:
        """Print all ratios. :returns: whether each is within its limit"""
        print()
        head = ("MEASURED", "OURS / OTHER", "RATIO", "LIMIT")
        widths = [max(len(row[column]) for row in [head, *self.rows]) for column in range(4)]
        for row in [head, *self.rows]:
            print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + ("" if row[-1] else "  MISSED"))
        return all(row[4] for row in self.rows)

    def token(self) -> str:
        """A token to send."""
        from app_extensions.tapis.login import tokens

        return tokens.access_token_for(self.flyer.user, self.flyer.client)


def timed(work: Callable[[], Any]) -> "tuple[float, Any]":
    """Seconds that the work takes, and what it gives."""
    begun = time.perf_counter()
    given = work()
    return time.perf_counter() - begun, given


def discovery(bench: Bench, systems: int, directories: int) -> None:
    """All calls of a discovery, ours at once and one after another, both through tapipy."""
    from tapipy.errors import NotFoundError
    from tapipy.tapis import Tapis

    from app_extensions.tapis.catalog.flights import discover
    from app_extensions.tapis.catalog.listing import JPEG_PATTERN
    from app_extensions.tapis.login.access import TapisAccess

    ids = []
    for number in range(systems):
        ids.append(bench.tapis.system(f"{PREFIX}bench-{number:02d}", owner=bench.flyer.name))
        for directory in range(directories):
            bench.tapis.flight(ids[-1], f"Flight{directory:02d}", 3)

    def one_after_another() -> int:
        client = Tapis(base_url=bench.stack.address("tapis"), tenant_id="portals", access_token=bench.token())
        client.systems.getSystems(listType="ALL", search=f"(id.like.{PREFIX}*)", limit=-1)
        found = 0
        for system in ids:
            for entry in client.files.listFiles(systemId=system, path="/", limit=1000):
                try:
                    images = client.files.listFiles(
                        systemId=system, path=f"{entry.name}/code/images", limit=1000, pattern=JPEG_PATTERN)
                except NotFoundError:
                    continue
                found += bool(images)
        return found

    ours, found = timed(lambda: discover(TapisAccess(bench.flyer.user, bench.flyer.client), ids))
    other, expected = timed(one_after_another)
    assert len(found.flights) == expected == systems * directories, (len(found.flights), expected, found.errors)
    bench.tell(f"discovery of {systems} systems x {directories} directories, seconds", f"{ours:.2f}", f"{other:.2f}",
               ours / other, 1 / 6)


def imported(bench: Bench, name: str, images: int, size: int) -> Any:
    """A generated flight with its project. :returns: our row"""
    from app_extensions.tapis.catalog.flights import check_flight
    from app_extensions.tapis.catalog.projects import create_project_from_flight
    from app_extensions.tapis.login.access import TapisAccess

    bench.flyer.flight(name, images, size_bytes=size)
    access = TapisAccess(bench.flyer.user, bench.flyer.client)
    found = check_flight(access, {"flight_name": name, "system_id": bench.flyer.system})
    return create_project_from_flight(bench.flyer.user, bench.flyer.client, found)[0]


def synced(bench: Bench, flight: Any) -> Any:
    """The whole sync in this process. :returns: the ended job"""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.sync import run

    job, _ = jobs.start_sync(TapisAccess(bench.flyer.user, bench.flyer.client), flight, queue=False)
    job = run.run_here(job.pk)
    assert job.state == "completed", job.error
    return job


def urls_of(bench: Bench, name: str, images: int) -> "list[str]":
    """The contents' addresses of a generated flight."""
    base = f"{bench.stack.address('tapis')}/v3/files/content/{bench.flyer.system}/{name}/code/images"
    return [f"{base}/IMG_{number:05d}.JPG" for number in range(images)]


def syncing(bench: Bench, images: int, size: int, scratch: Path) -> None:
    """A whole sync beside plain downloads of the same files."""
    import requests

    flight = imported(bench, "Speed", images, size)
    urls = urls_of(bench, "Speed", images)
    what = f"{images} x {size / 1e6:g} MB"

    def one_after_another() -> None:
        session = requests.Session()
        session.headers["X-Tapis-Token"] = bench.token()
        target = scratch / "plain"
        target.mkdir()
        for number, url in enumerate(urls):
            with session.get(url, stream=True, timeout=60) as answer, open(target / f"{number}.jpg", "wb") as out:
                answer.raise_for_status()
                for block in answer.iter_content(1 << 18):
                    out.write(block)
        shutil.rmtree(target)

    plain, _ = timed(one_after_another)
    ours, job = timed(lambda: synced(bench, flight))
    assert job.bytes_moved == images * size
    bench.tell(f"sync of {what} at four connections against one after another, seconds", f"{ours:.2f}", f"{plain:.2f}",
               ours / plain, 1 / 3)
    aria2c(bench, urls, ours, what, scratch)
    unchanged(bench, flight, images)


def aria2c(bench: Bench, urls: "list[str]", ours: float, what: str, scratch: Path) -> None:
    """The same with a program that does nothing but download."""
    if not shutil.which("aria2c"):
        print("  skipped: aria2c is not installed (apt-get install aria2)")
        return
    target = scratch / "aria2c"
    target.mkdir()
    (scratch / "urls").write_text("\n".join(urls) + "\n")
    argv = ["aria2c", "--quiet=true", "-j4", "-x1", "-s1", "--file-allocation=none", "--allow-overwrite=true",
            f"--header=X-Tapis-Token: {bench.token()}", "-i", str(scratch / "urls"), "-d", str(target)]
    seconds, _ = timed(lambda: subprocess.run(argv, check=True))
    assert len(list(target.iterdir())) == len(urls)
    shutil.rmtree(target)
    bench.tell(f"sync of {what} against aria2c with four connections, seconds", f"{ours:.2f}", f"{seconds:.2f}",
               ours / seconds, 1.2)


def unchanged(bench: Bench, flight: Any, images: int) -> None:
    """A second sync: what it asks of Tapis."""
    bench.tapis._call("POST", "counters/reset")
    seconds, job = timed(lambda: synced(bench, flight))
    counters = bench.tapis.counters()
    assert job.images_done == images
    calls = sum(counters.get(name, 0) for name in ("list", "content"))
    print(f"  second sync of the unchanged flight: {calls} call(s), {counters.get('content_bytes', 0)} bytes of contents, "
          f"{seconds:.2f} s")
    bench.tell("second sync of the unchanged flight, calls and bytes of contents", f"{calls} and {job.bytes_moved}",
               f"{images + 1} and all", calls / (images + 1), 2 / (images + 1))


def faults(bench: Bench, images: int, size: int) -> None:
    """Bytes moved where each tenth download breaks in its middle, against none broken."""
    clean = synced(bench, imported(bench, "Clean", images, size)).bytes_moved
    flight = imported(bench, "Faulty", images, size)
    bench.tapis.fault("abort", operation="content", path="Faulty", every=10, after_bytes=size // 2)
    try:
        moved = synced(bench, flight).bytes_moved
    finally:
        bench.tapis.end_faults()
    bench.tell(f"bytes moved for {images} x {size / 1e6:g} MB with 10 % faults against without", f"{moved / 1e6:.1f} MB",
               f"{clean / 1e6:.1f} MB", moved / clean, 1.15)


def costs(bench: Bench, images: int, size: int, scratch: Path) -> None:
    """CPU seconds and peak memory of processes that do nothing but fetch the same files."""
    bench.flyer.flight("Costs", images, size_bytes=size)
    results = {}
    for kind in ("ours", "tapipy"):
        target = scratch / kind
        target.mkdir()
        task = {"kind": kind, "base": bench.stack.address("tapis"), "system": bench.flyer.system, "images": images,
                "size": size, "target": str(target), "token": bench.token()}
        done = subprocess.run([sys.executable, "-m", "dev.benchmarks.tapis", "--child"], input=json.dumps(task).encode(),
                              stdout=subprocess.PIPE, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{sys.path[1]}"})
        results[kind] = json.loads(done.stdout)
        shutil.rmtree(target)
    what = f"{images} x {size / 1e6:g} MB"
    ours, other = results["ours"], results["tapipy"]
    bench.tell(f"CPU seconds to fetch {what} against tapipy's own download", f"{ours['cpu']:.2f}", f"{other['cpu']:.2f}",
               ours["cpu"] / other["cpu"], 0)
    bench.tell(f"peak memory to fetch {what} against tapipy's own download", f"{ours['peak'] / 1e6:.0f} MB",
               f"{other['peak'] / 1e6:.0f} MB", ours["peak"] / other["peak"], 0)


def child() -> None:
    """One of the two processes of ``costs``; the task comes on stdin, so that no token is on a command line."""
    task = json.load(sys.stdin)
    paths = [f"Costs/code/images/IMG_{number:05d}.JPG" for number in range(task["images"])]
    target = Path(task["target"])
    if task["kind"] == "tapipy":
        from tapipy.tapis import Tapis

        client = Tapis(base_url=task["base"], tenant_id="portals", access_token=task["token"])
        begun = resource.getrusage(resource.RUSAGE_SELF)
        for path in paths:
            (target / Path(path).name).write_bytes(client.files.getContents(systemId=task["system"], path=path))
    else:
        import django

        django.setup()
        from types import SimpleNamespace

        from app_extensions.tapis.login.access import TapisAccess
        from app_extensions.tapis.sync.content import ContentFetcher

        access = TapisAccess(None, SimpleNamespace(base_url=task["base"], tenant_id="portals"), task["token"])
        fetcher = ContentFetcher(access)
        begun = resource.getrusage(resource.RUSAGE_SELF)
        for path in paths:
            fetcher.fetch(task["system"], path, target / Path(path).name, task["size"])
    ended = resource.getrusage(resource.RUSAGE_SELF)
    cpu = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
    print(json.dumps({"cpu": cpu, "peak": ended.ru_maxrss * 1024}))


def main() -> int:
    """Run all or some of it. :returns: 0 when every ratio is within its limit"""
    if sys.argv[1:2] == ["scale"]:
        from dev.benchmarks import tapis_scale

        return tapis_scale.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="webodm.sh bench tapis", description=__doc__)
    parser.add_argument("--only", choices=["discovery", "sync", "faults", "costs"], action="append")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size-mb", type=float, default=6.0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child()
        return 0
    from dev.sandbox.stack import remove_data

    wanted = options.only or ["discovery", "sync", "faults", "costs"]
    size = int(options.size_mb * 1e6)
    data = Path(tempfile.mkdtemp(prefix="webodm-bench-"))
    data.chmod(0o755)  # PostgreSQL runs as another user if this runs as root
    bench = Bench(data)
    try:
        bench.start()
        print(f"Stand-in Tapis with {LATENCY_MS} ms before each answer; {os.cpu_count()} cores.", flush=True)
        scratch = data / "scratch"
        scratch.mkdir()
        if "discovery" in wanted:
            discovery(bench, 20, 50)
        if "sync" in wanted:
            syncing(bench, options.images, size, scratch)
        if "faults" in wanted:
            faults(bench, min(100, options.images), size)
        if "costs" in wanted:
            costs(bench, min(40, options.images), size, scratch)
        return 0 if bench.table() else 1
    finally:
        from django.db import connections

        connections.close_all()
        bench.stack.stop()
        remove_data(data)


if __name__ == "__main__":
    sys.exit(main())
