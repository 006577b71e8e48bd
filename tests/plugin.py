"""The ground of all tests, loaded as a pytest plugin before pytest-django reads the settings.

A run gets a private data directory with its own PostgreSQL and Redis on free ports. The pytest process and the live
gunicorn, worker and node share that one database: tests marked `django_db` roll back, live tests use `live_db` and unique names.
"""
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "dev" / "sandbox" / "host")]

from dev.sandbox.stack import Stack, remove_data  # noqa: E402
from tests.cpu import CpuReport  # noqa: E402

QUICK_ENGINE = f"{sys.executable} {ROOT / 'tests' / 'support' / 'quick_engine.py'}"

#: Limits that tests together would exceed, and shorter waits in seconds than a real Tapis deserves.
FOR_TESTS = {
    "WO_OPENSCAN_TOKEN_REQUESTS_TOTAL_PER_HOUR": "10000",  # of all tests together
    "WO_TAPIS_TIMEOUT": "8", "WO_TAPIS_RETRY_SECONDS": "0.05", "WO_TAPIS_LEASE_SECONDS": "6", "WO_TAPIS_BATCH_SECONDS": "20",
    "WO_TAPIS_SETTLE_SECONDS": "0", "WO_TAPIS_STAGGER_SECONDS": "1", "WO_TAPIS_MAP_TILES": "none",
}

_stack: Optional[Stack] = None


def session_stack() -> Stack:
    """The stack of this test run, its files laid out; nothing is started by asking for it."""
    global _stack
    if _stack is None:
        data = Path(tempfile.mkdtemp(prefix="webodm-tests-"))
        data.chmod(0o755)  # PostgreSQL runs as another user if the tests run as root
        _stack = Stack(data, tapis=True, node_engine=QUICK_ENGINE, extra_env=FOR_TESTS, one_worker=True)
        _stack.prepare_files()  # the settings that are read next import the override from there
    return _stack


#: The environment as pytest was called with: a real WebODM's own variables may be in it (see tests/contract).
CALLERS_ENVIRONMENT = dict(os.environ)
os.environ.update({key: value for key, value in session_stack().django_env().items() if key != "PYTHONPATH"})


def need(tool: str) -> str:
    """The path of a program that not every machine has. Skips the test by name, or fails it when REQUIRE_TOOLS=1."""
    names = {"chromium": ("chromium", "chromium-browser", "google-chrome")}.get(tool, (tool,))
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    message = f"{tool} is not installed on this machine"
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("webodm")
    group.addoption("--quick", action="store_true", help="only the tests that need no servers, and one path of each kind")
    group.addoption("--long", action="store_true", help="also run the long campaigns")
    group.addoption("--docker", action="store_true", help="run tests/docker, on a Docker engine of the test's own")
    group.addoption("--cpu", action="store_true", help="print what each test file costs in processor time")
    group.addoption("--webodm-url", help="run tests/contract against this WebODM instead of the sandbox")
    group.addoption("--webodm-dir", help="the directory of that WebODM, where a test must look inside")
    group.addoption("--keep-data", action="store_true", help="keep the run's data directory and print its name")


def pytest_configure(config: pytest.Config) -> None:
    """What hypothesis tries: the same few examples in each normal run, so that a run tells of a change and not of chance; many new ones
    with ``--long``. A busy machine is no finding."""
    machine_may_be_slow = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("normal", max_examples=50, derandomize=True, **machine_may_be_slow)
    settings.register_profile("long", max_examples=1000, print_blob=True, **machine_may_be_slow)
    settings.load_profile("long" if config.getoption("--long") else "normal")
    gc.set_threshold(20_000)  # Python's own 700 has it look for cycles all the time, in a process that loads all tests
    if config.getoption("--cpu"):
        config.pluginmanager.register(CpuReport(session_stack().socket_dir))


#: Whoever asks for one of these waits for a server, an installation, a browser or a run of the engine.
_SLOW_FIXTURES = {"ground", "db", "chromium", "native", "target", "site", "node", "run", "finished", "sandbox", "standin", "cloud",
                  "display"}
_SLOW_DIRECTORIES = {"contract", "demo", "install", "sandbox", "scale"}


def _is_quick(item: pytest.Item) -> bool:
    if item.get_closest_marker("quick"):
        return True
    if item.get_closest_marker("slow"):
        return False
    slow = _SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())) or item.get_closest_marker("django_db")
    return not slow and item.path.relative_to(ROOT / "tests").parts[0] not in _SLOW_DIRECTORIES


def pytest_collection_modifyitems(config: pytest.Config, items: list) -> None:
    """Deselects long campaigns, and with ``--quick`` all that is slow (not skips: a skip means that a tool is missing)."""
    if config.getoption("--long"):
        return
    chosen = [item for item in items if not item.get_closest_marker("long")
              and (config.getoption("--docker") or not item.get_closest_marker("docker"))
              and (not config.getoption("--quick") or _is_quick(item))]
    kept = set(chosen)
    left_out = [item for item in items if item not in kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


#: Files that share one slow preparation, a finished run of the engine or a WebODM: one of the processes makes it, and runs them all.
_TOGETHER = {
    **{f"tests/engine/test_{name}.py": "tests/engine" for name in ("estimate", "failures", "killed", "mixed", "pairs", "results")},
    **{f"tests/contract/test_{name}.py": "tests/contract" for name in ("bodies", "extension_apps", "plugins", "routes", "tasks")},
}

#: What takes longest as one piece begins first, so that no process is left with it at the end. `--cpu` tells; the order is all that
#: depends on it.
_FIRST = ["tests/engine", "tests/contract", *(f"tests/{name}.py" for name in (
    "tapis/plugin/test_flights_browser", "install/test_install", "install/test_docker", "sandbox/test_supervisor",
    "tapis/plugin/test_previews_browser", "install/test_doctor", "openscan/processing/test_nodes_live", "node/test_node_queue",
    "openscan/plugin/test_upload_browser", "openscan/ingest/test_trials", "openscan/plugin/test_pages", "tapis/sync/test_sync",
    "tapis/plugin/test_many_flights", "tapis/sync/test_crash", "openscan/results/test_object_storage_faults",
    "openscan/plugin/test_scan_pages", "tapis/previews/test_previews", "scale/test_workers", "openscan/plugin/test_pictures",
    "openscan/plugin/test_token_pages", "engine/test_flight", "demo/test_scan_demo"))]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile`` with some files as one, and the longest first (xdist itself begins with the most tests)."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return _TOGETHER.get(file, file)

        def _assign_work_unit(self, node: Any) -> None:
            first = next((scope for scope in _FIRST if scope in self.workqueue), None)
            if first is not None:
                self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    return Together(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _stack is None:
        return
    for service in _stack.services.values():
        service.kill()  # nobody needs what they would still tidy up, and that takes seconds
    _stack.stop()
    if config.getoption("--keep-data", default=False):
        print(f"the run's data: {_stack.data}")
    else:
        remove_data(_stack.data)
