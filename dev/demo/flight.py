"""A drone flight on Tapis to a WebODM project with its model: login, discovery, import, sync, processing."""
import argparse
import re
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Optional
from urllib.parse import parse_qsl, urlsplit

import requests

from dev.demo.model import ModelError, inspect_model
from dev.demo.scan import Clock, DemoError
from dev.sandbox.stack import Stack
from dev.standins.tapis import CLIENT_ID

FLIGHT = "BrightonBeach"
PROCESSING_TIMEOUT_SECONDS = 45 * 60
SYNC_TIMEOUT_SECONDS = 10 * 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flight", default=FLIGHT, help="the flight's name on the stand-in Tapis (default: BrightonBeach, 18 photos)")
    parser.add_argument("--tapis-user", default="alice", help="who logs in at the stand-in Tapis (default: alice)")
    parser.add_argument("--preset", default="", help="a WebODM preset for processing, such as 'Fast Orthophoto'")


def run(stack: Stack, options: argparse.Namespace) -> int:
    """The whole way; returns the exit code."""
    try:
        demonstrate(stack, options)
    except (DemoError, ModelError, requests.RequestException) as error:
        print(f"\nThe demonstration failed: {error}\nThe sandbox's logs: ./webodm.sh sandbox logs --data {stack.data}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The sandbox is still running. Stop it with ./webodm.sh sandbox stop.", file=sys.stderr)
        return 130
    return 0


class LinkedElsewhere(Exception):
    """The Tapis user has another WebODM account already."""


class Person(requests.Session):
    """A person's browser at the sandbox: keeps cookies, sends the CSRF token as the pages' scripts do."""

    def __init__(self, web: str) -> None:
        super().__init__()
        self.web = web

    def api(self, method: str, path: str, body: Optional[dict] = None) -> Any:
        """A call as the pages make it. :raises DemoError: it did not succeed"""
        headers = {"X-CSRFToken": self.cookies.get("csrftoken", ""), "Referer": self.web + "/"}
        answer = self.request(method, f"{self.web}/api/{path}", json=body, headers=headers, timeout=300)
        if not answer.ok:
            raise DemoError(f"{method} /api/{path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def sign_in(self, username: str, password: str) -> None:
        """WebODM's own login page. :raises DemoError: it was refused"""
        page = self.get(f"{self.web}/login/", timeout=30)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        if token is None:
            raise DemoError("WebODM's login page has no form")
        answer = self.post(f"{self.web}/login/", headers={"Referer": f"{self.web}/login/"}, allow_redirects=False, timeout=30, data={
            "username": username, "password": password, "csrfmiddlewaretoken": token.group(1)})
        if answer.status_code != 302:
            raise DemoError("WebODM did not accept the admin login")

    def log_in_to_tapis(self, tapis_user: str) -> None:
        """Authorize, the login page at Tapis, the callback: every redirect as a browser follows it."""
        begun = self.get(f"{self.web}/api/oauth2/tapis/authorize/{CLIENT_ID}/", headers={"Accept": "text/html"},
                         allow_redirects=False, timeout=30)
        if begun.status_code != 302:
            raise DemoError(f"no redirect to Tapis: {begun.status_code} {begun.text[:300]}")
        address = urlsplit(begun.headers["Location"])
        requests.get(begun.headers["Location"], timeout=30).raise_for_status()  # the page with the form that is sent next
        form = {**dict(parse_qsl(address.query)), "username": tapis_user, "approve": "yes"}
        back = requests.post(f"{address.scheme}://{address.netloc}/v3/oauth2/login", data=form, allow_redirects=False, timeout=30)
        if back.status_code != 302:
            raise DemoError(f"Tapis did not accept the login: {back.status_code}")
        done = self.get(back.headers["Location"], headers={"Accept": "text/html"}, allow_redirects=False, timeout=60)
        if done.status_code == 302 and done.headers["Location"].endswith("/link/"):
            done = self._link(done.headers["Location"])
        if done.status_code == 409:
            raise LinkedElsewhere
        if done.status_code != 302:
            raise DemoError(f"the callback answered {done.status_code}: {done.text[:300]}")

    def _link(self, path: str) -> requests.Response:
        """The page that asks whether this Tapis user is to be the WebODM user who is signed in."""
        url = self.web + path
        page = self.get(url, headers={"Accept": "text/html"}, timeout=30)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        if token is None:
            return page
        return self.post(url, data={"csrfmiddlewaretoken": token.group(1), "choice": "link"}, allow_redirects=False,
                         headers={"Accept": "text/html", "Referer": url}, timeout=60)


def demonstrate(stack: Stack, options: argparse.Namespace) -> None:
    """The way of one flight. Raises DemoError, ModelError."""
    clock = Clock()
    # Discovery is shown step by step here, not left to the login.
    preferences = {"auto_discover_on_login": False, "process_after_sync": True, "processing_preset": options.preset}
    person = Person(stack.address())
    person.sign_in(str(stack.config["admin_user"]), str(stack.config["admin_password"]))
    person.api("POST", "tapis-preferences/", preferences)
    try:
        person.log_in_to_tapis(options.tapis_user)
        clock.say(f"logged in at Tapis as {options.tapis_user}, linked to WebODM's {stack.config['admin_user']}")
    except LinkedElsewhere:
        person = Person(stack.address())
        person.log_in_to_tapis(options.tapis_user)
        person.api("POST", "tapis-preferences/", preferences)
        clock.say(f"logged in at Tapis as {options.tapis_user}, who has a WebODM account of that login")

    for system in person.api("GET", "tapis-storage/systems/")["systems"]:
        clock.say(f"system {system['id']} on {system['host']}: {system['description']}")
    flight = choose(person, options.flight, clock)
    project_id = import_flight(person, flight, clock)
    task = task_of(person, project_id)
    if task["status"] in (10, 20):
        clock.say("an earlier demonstration's processing is under way; waiting for it")
    else:
        again = task["status"] is not None
        sync(person, project_id, clock)
        if again and task_of(person, project_id)["status"] in (30, 40, 50):
            clock.say("nothing new on Tapis: processing the images that are here once more")
            person.api("POST", f"projects/{project_id}/tasks/{task['id']}/restart/", {})
    task = processed(person, project_id, clock)
    show(person, stack, project_id, task, clock)


def choose(person: Person, name: str, clock: Clock) -> "dict[str, Any]":
    """Discover, and pick the flight. :raises DemoError: it is not among those found"""
    found = person.api("POST", "tapis-storage/discover-flights/", {})
    for flight in found["flights"]:
        clock.say(f"flight {flight['flight_name']}: {flight['image_count']} images in {flight['system_id']}/{flight['images_path']}")
    for error in found.get("errors", []):
        clock.say(f"not readable: {error}")
    chosen = next((flight for flight in found["flights"] if flight["flight_name"] == name), None)
    if chosen is None:
        raise DemoError(f"there is no flight {name} on the stand-in Tapis")
    return chosen


def import_flight(person: Person, flight: "dict[str, Any]", clock: Clock) -> int:
    """The flight's project, made now or by an earlier demonstration."""
    results = person.api("POST", "tapis-storage/create-projects/", {"flights": [flight]})["results"]
    if results["created_projects"]:
        made = results["created_projects"][0]
        clock.say(f"project {made['project_id']}: {made['project_name']}")
        return made["project_id"]
    name = f"{flight['flight_name']} ({flight['system_id']})"
    for project in person.api("GET", "tapis-storage/flight-projects/")["projects"]:
        if project["name"] == name:
            clock.say(f"project {project['id']} of an earlier demonstration: {name}")
            return project["id"]
    raise DemoError(f"no project was made: {results}")


def sync(person: Person, project_id: int, clock: Clock) -> None:
    """Fetch the images and show how it goes. :raises DemoError: they are not all here"""
    job_id = person.api("POST", "tapis-storage/sync-project-images/", {"project_id": project_id})["job_id"]
    end, last = time.monotonic() + SYNC_TIMEOUT_SECONDS, -1
    while time.monotonic() < end:
        job = person.api("GET", f"tapis-storage/jobs/{job_id}/")["job"]
        over = job["state"] not in ("queued", "running")
        if over or job["images_done"] != last:
            last = job["images_done"]
            clock.say(f"sync {job['state']}: {last} of {job['images_total']} images, {job['bytes_done'] / 1e6:.1f} MB, "
                      f"{job['rate'] / 1e6:.1f} MB/s")
        if over:
            if job["state"] != "completed":
                raise DemoError(f"the sync {job['state']}: {job['error']}")
            if job["error"]:
                clock.say(job["error"])
            return
        time.sleep(0.5)
    raise DemoError("the sync takes too long")


def task_of(person: Person, project_id: int) -> "dict[str, Any]":
    """The flight's WebODM task, as WebODM's own API tells it."""
    tasks = person.api("GET", f"projects/{project_id}/tasks/")
    if not tasks:
        raise DemoError(f"project {project_id} has no task")
    return tasks[0]


def processed(person: Person, project_id: int, clock: Clock) -> "dict[str, Any]":
    """Wait for WebODM and its node. :raises DemoError: they failed"""
    end, last = time.monotonic() + PROCESSING_TIMEOUT_SECONDS, ""
    while time.monotonic() < end:
        task = task_of(person, project_id)
        over = task.get("pending_action") is None  # a restart that was asked for shows here until a worker takes it
        if over and task["status"] == 40:
            clock.say("processing completed")
            return task
        if over and task["status"] in (30, 50):
            raise DemoError(f"processing failed: {task.get('last_error') or 'cancelled'}")
        words = f"processing: {10 * int(10 * (task.get('running_progress') or 0))} %"
        if words != last:
            last = words
            clock.say(words)
        time.sleep(1)
    raise DemoError("processing takes too long")


def show(person: Person, stack: Stack, project_id: int, task: "dict[str, Any]", clock: Clock) -> None:
    """Download the model, check it, and say where everything is."""
    assets = task["available_assets"]
    if "textured_model.zip" not in assets:
        raise DemoError(f"the result has no textured model, only {assets}")
    directory = stack.data / "demo" / time.strftime("flight-%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    archive = directory / "textured_model.zip"
    path = f"api/projects/{project_id}/tasks/{task['id']}/download/textured_model.zip"
    with person.get(f"{person.web}/{path}", stream=True, timeout=300) as answer:
        answer.raise_for_status()
        with archive.open("wb") as out:
            for block in answer.iter_content(1 << 18):
                out.write(block)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(directory)
    model = inspect_model(_root_of(directory))
    clock.say(f"checked: {model.vertices} vertices, {model.faces} faces, {len(model.textures)} texture(s)")
    print(f"\nFrom Tapis to a model in {clock.seconds():.0f} s: {', '.join(assets)}")
    print(f"The model:  {model.mesh}")
    print(f"Look at it: {stack.address()}/3d/project/{project_id}/task/{task['id']}/")
    print(f"  flights:  {stack.address()}/plugins/tapis_storage/")
    print(f"  log in as {stack.config['admin_user']}; the password is in {stack.config_path}")
    print("\nThe sandbox is still running. Stop it with ./webodm.sh sandbox stop.")


def _root_of(directory: Path) -> Path:
    """Where the mesh is: at the archive's root, or in its one directory."""
    found = sorted(directory.rglob("*.obj"))
    if not found:
        raise DemoError("the textured model holds no .obj")
    return found[0].parent
