"""`doctor`: what is wrong with an installation, and how to fix it.

Facts come from WebODM's own Python (`probe.py`) and from the running web server (`live.py`); this file judges them.
"""
import json
import os
import sys
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import urlsplit

from deploy import live
from deploy.install import is_our_override, override_path
from deploy.webodm import OLDEST_VERSION, TESTED_VERSIONS, WebODM, version_tuple

FAULT, WARNING, GOOD = "fault", "warning", "good"
#: Seconds without a sign of the scheduler after which it counts as gone; its heartbeat comes every minute.
BEAT_SILENCE = 300


class Finding(NamedTuple):
    """One thing the doctor looked at: `level` is fault, warning or good; `mend` says what to do."""

    name: str
    level: str
    text: str
    mend: str = ""


def judge(facts: dict[str, Any], override_there: bool, web: dict[str, Any]) -> list[Finding]:
    """Every finding from `facts` (what `probe.py doctor` answered) and `web` (what `live.look` saw)."""
    found = [*_versions(facts), *_modules(facts)]
    if facts.get("setup_error"):
        return [*found, Finding("django", FAULT, f"Django does not start: {facts['setup_error']}",
                                "Fix the error (often a missing package: run `install` again), or run `uninstall`.")]
    override = _override(facts, override_there)
    found += override
    if len(facts["override"].get("apps", ())) < 2:
        return found  # nothing else of ours can be looked at before it is loaded
    for name, judged in (("database", _database), ("checks", _checks), ("plugins", _plugins), ("broker", _broker),
                         ("beat", _beat), ("queue", _queue), ("owners", _owners), ("preset", _preset), ("mail", _mail), ("disk", _disk),
                         ("objects", _objects), ("tapis", _tapis)):
        found += _unless_broken(name, facts.get(name), judged)
    return found + _public(facts, web) + _web(web)


def _unless_broken(name: str, answer: Any, judged: Callable[[Any], list[Finding]]) -> list[Finding]:
    if isinstance(answer, dict) and set(answer) == {"error"}:
        mend = {"broker": "Start Redis, or set WO_BROKER to the address that WebODM's web server and worker use.",
                "database": "Start PostgreSQL, or set WO_DATABASE_HOST, _PORT, _NAME, _USER and _PASSWORD to WebODM's values."}
        return [Finding(name, FAULT, f"could not be checked: {answer['error']}", mend.get(
            name, "Run `install` again. If the error stays, it names the cause."))]
    return judged(answer)


def _versions(facts: dict[str, Any]) -> list[Finding]:
    version = facts["webodm"]
    if version_tuple(version) < OLDEST_VERSION:
        return [Finding("versions", FAULT, f"WebODM {version} is too old", "Update WebODM, then run `install` again.")]
    if not facts["python"].startswith("3.9.") or not facts["django"].startswith("2.2."):
        return [Finding("versions", FAULT, f"Python {facts['python']} and Django {facts['django']}: WebODM {TESTED_VERSIONS[-1]} "
                        "runs on 3.9 and 2.2", "Give WebODM's Python with --python.")]
    if version not in TESTED_VERSIONS:
        return [Finding("versions", WARNING, f"WebODM {version} has not been tested (tested: {', '.join(TESTED_VERSIONS)})",
                        "COMPATIBILITY.md lists the versions that each of our releases was tested with.")]
    return [Finding("versions", GOOD, f"WebODM {version}, Django {facts['django']}, Python {facts['python']}")]


def _modules(facts: dict[str, Any]) -> list[Finding]:
    if not facts["modules"]:
        return [Finding("packages", GOOD, "all of our packages can be imported")]
    return [Finding("packages", FAULT, f"{name} cannot be imported: {error}",
                    "Run `install` again: it adds what is missing and touches nothing else.")
            for name, error in facts["modules"].items()]


def _override(facts: dict[str, Any], there: bool) -> list[Finding]:
    answer = facts["override"]
    if answer.get("error"):
        return [Finding("override", FAULT, f"webodm/settings_override.py cannot be imported: {answer['error']}. WebODM hides an "
                        "ImportError there and runs without our plugins",
                        "Fix the error (often a missing package: run `install` again), then restart WebODM.")]
    if len(answer["apps"]) < 2:
        silent = "the settings do not have our apps" if there else "the file is not ours"
        why = "; ".join(answer["problems"]) or silent
        return [Finding("override", FAULT, f"our Django apps are not loaded: webodm/settings_override.py: {why}",
                        "Run `install` again. If you use WebODM's --settings FILE, start with ./webodm.sh start: it loads both.")]
    if len(answer["includes"]) < 2:
        return [Finding("override", FAULT, "CELERY_INCLUDE lacks our tasks: something after our override replaced it",
                        "Change settings_override_site.py: it must add to CELERY_INCLUDE, not replace it.")]
    mend = "Fix the error (often a missing package: run `install` again), then restart WebODM."
    return [Finding("override", FAULT, problem, mend) for problem in answer["problems"]] \
        or [Finding("override", GOOD, "the settings override is loaded, both apps run")]


def _database(answer: dict[str, Any]) -> list[Finding]:
    found = []
    if version_tuple(answer["version"]) < (9, 5):
        found.append(Finding("database", FAULT, f"PostgreSQL {answer['version']} is too old",
                             "Update it to 9.5 or later."))
    if answer["missing_migrations"]:
        found.append(Finding("migrations", FAULT, "not run yet: " + ", ".join(answer["missing_migrations"]),
                             "Run `manage.py migrate` (or `install`), then restart WebODM."))
    if answer["binding"]:
        found.append(Finding("database", FAULT, "WebODM's rows cannot be deleted because of foreign keys in our tables: "
                             + ", ".join(answer["binding"]),
                             "Please report this: it is a fault in the plugins."))
    return found or [Finding("database", GOOD, f"PostgreSQL {answer['version']}, our tables are up to date")]


def _checks(answer: list[dict[str, Any]]) -> list[Finding]:
    return [Finding(one["id"], FAULT if one["level"] >= 40 else WARNING, one["text"], one["hint"]) for one in answer] \
        or [Finding("checks", GOOD, "the system checks found nothing")]


def _plugins(answer: dict[str, Any]) -> list[Finding]:
    found = []
    for name in ("openscan_cloud", "tapis_storage"):
        state = answer.get(name)
        if state is None:
            found.append(Finding("plugins", FAULT, f"WebODM does not find the plugin {name}, or it cannot be imported",
                                 "Run `install` again; WebODM's log has the cause, after `Failed to instantiate plugin`."))
        elif not state["row"]:
            found.append(Finding("plugins", FAULT, f"WebODM has no row for the plugin {name} yet", "Restart WebODM."))
        elif not state["enabled"]:
            found.append(Finding("plugins", FAULT, f"the plugin {name} is disabled",
                                 "Enable it under Administration > Plugins, then restart WebODM."))
        elif not state["mounted"]:
            found.append(Finding("plugins", FAULT, f"WebODM does not know the addresses of {name}",
                                 "Run `manage.py check`, then restart WebODM. This can happen when a plugin starts for the first time."))
    return found or [Finding("plugins", GOOD, "both plugins are enabled, and WebODM knows their addresses")]


def _broker(answer: dict[str, Any]) -> list[Finding]:
    workers = answer["workers"]
    if not workers:
        return [Finding("worker", FAULT, "the broker answers, but no Celery worker does",
                        "Start WebODM's worker (`worker.sh start`, or the worker container).")]
    return [Finding("worker", FAULT, f"worker {name} lacks our tasks (it has: {', '.join(known) or 'none of ours'})",
                    "Restart it; it needs the same code, packages and settings override as the web server.")
            for name, known in workers.items() if len(known) < 2] \
        or [Finding("worker", GOOD, "1 worker knows our tasks" if len(workers) == 1 else f"{len(workers)} workers know our tasks")]


def _queue(answer: dict[str, Any]) -> list[Finding]:
    name = answer["name"]
    if name == answer["default"]:
        return [Finding("queue", GOOD, f"our jobs use WebODM's own queue, {name!r}, and its workers")]
    if not answer["workers"]:
        return [Finding("queue", FAULT, f"no worker takes our jobs from the queue {name!r}, so scans and syncs never start",
                        f"Docker: `./webodm.sh start` starts one. Native: `sudo systemctl enable --now {answer['unit']}`. To use "
                        f"WebODM's own worker instead: set WO_EXTENSIONS_QUEUE={answer['default']} and restart WebODM.")]
    number = len(answer["workers"])
    return [Finding("queue", GOOD, f"{number} worker{'s' if number > 1 else ''} for our jobs, in the queue {name!r}")]


def _beat(answer: dict[str, Any]) -> list[Finding]:
    if not answer["entries"]:
        return [Finding("beat", FAULT, "the schedule has no entries of ours", "Run `install` again, and restart the scheduler.")]
    age = answer["age_seconds"]
    if age is None or age > BEAT_SILENCE:
        since = "was never seen" if age is None else f"was last seen {age:.0f} s ago"
        return [Finding("beat", FAULT, f"the scheduler with our entries {since}",
                        "If WebODM has just started, wait two minutes and run doctor again. Otherwise restart its scheduler "
                        "(`worker.sh scheduler start`; in Docker it runs in webapp).")]
    return [Finding("beat", GOOD, f"the scheduler ran our entries {age:.0f} s ago")]


def _owners(answer: dict[str, Any]) -> list[Finding]:
    if not answer["nodes"]:
        return [Finding("nodes", FAULT, "WebODM has no processing node, so scans are never processed",
                        "Docker: `./webodm.sh start --with-node` adds ours. Otherwise start one (node/README.md) and add it under "
                        "Administration > Processing nodes.")]
    return _rights(answer["owners"])


def _rights(answer: list[dict[str, Any]]) -> list[Finding]:
    gone = [Finding("tokens", FAULT, f"the WebODM user of these tokens was deleted, so no scan can start: {', '.join(one['tokens'])}",
                    "Choose another owner, or revoke them, in the administration under OpenScan Cloud > Tokens.")
            for one in answer if one["user"] is None]
    answer = [one for one in answer if one["user"] is not None]
    found = [Finding("nodes", FAULT, f"{one['user']} owns OpenScan tokens but may use no processing node, so the scans are never processed",
                     "Give the user `view_processingnode` on a node: Administration > Processing nodes > Object permissions.")
             for one in answer if not one["nodes"]]
    found += [Finding("nodes", WARNING, f"no processing node that {one['user']} may use is online",
                      "Start a node, or correct its address under Administration > Processing nodes.")
              for one in answer if one["nodes"] and not one["online"]]
    if gone:
        return gone + found
    if not answer:
        return [Finding("nodes", WARNING, "there is no OpenScan token yet",
                        "Create one: see `manage openscan_token create --help`, or use the administration.")]
    return found or [Finding("nodes", GOOD, "every token's owner may use a node, and it is online")]


def _preset(answer: dict[str, Any]) -> list[Finding]:
    name, missing = answer["name"], answer["missing"]
    if not missing:
        return [Finding("preset", GOOD, f"every token's owner has the preset {name!r}")]
    who = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    names = ", ".join(map(repr, answer["system"])) or "there are none"
    return [Finding("preset", WARNING, f"WO_OPENSCAN_PRESET is the preset {name!r}, which {who} cannot use: their scans are processed "
                    "with the processing node's defaults",
                    f"Set WO_OPENSCAN_PRESET to a preset that they have (system presets: {names}), or create one of that name in the "
                    "administration under Presets: tick System to make it available to everybody, or choose the user as its owner.")]


def _mail(answer: dict[str, Any]) -> list[Finding]:
    mend = "Set WO_SMTP_HOST, WO_SMTP_PORT, WO_SMTP_USER, WO_SMTP_PASSWORD, WO_SMTP_TLS and WO_SMTP_FROM (docs/admin/settings.md)."
    if not answer["backend"].endswith("smtp.EmailBackend"):
        return [Finding("mail", WARNING, f"mail is not sent: it goes to {answer['backend']}", mend)]
    if answer["error"]:
        return [Finding("mail", WARNING, f"the mail server {answer['host']}:{answer['port']} does not accept mail: "
                                         f"{answer['error']}", mend)]
    if answer["from"] == "webmaster@localhost":
        return [Finding("mail", WARNING, "mail is sent from webmaster@localhost, which most mail servers reject", mend)]
    return [Finding("mail", GOOD, f"{answer['host']}:{answer['port']} accepts mail")]


def _disk(answer: dict[str, Any]) -> list[Finding]:
    free, reserve = answer["free_bytes"], answer["reserve_bytes"]
    if free < reserve + 2_000_000_000:
        return [Finding("disk", FAULT, f"{free} bytes are free in {answer['directory']}, and {reserve} of them must stay free: "
                        "the largest sets would be refused", "Free some space, or set WO_OPENSCAN_STORAGE_DIR to a larger disk.")]
    return [Finding("disk", GOOD, f"{free / 1e9:.1f} GB are free in {answer['directory']}")]


def _objects(answer: dict[str, Any]) -> list[Finding]:
    if not answer["place"]:
        return [Finding("objects", GOOD, "no object storage is set up: results are in the file system")]
    if answer["problem"]:
        return [Finding("objects", FAULT, f"the object storage {answer['place']} cannot be used: {answer['problem']}. Until it "
                                          "works, results are "
                        "served from the file system",
                        "Check, for a connection error, the address and the network; for 404, the bucket's name; for 403, the keys and "
                        "their rights (docs/admin/object-storage.md); for a certificate error, WO_OPENSCAN_S3_VERIFY.")]
    return [Finding("objects", GOOD, f"{answer['place']} stores, lists and deletes objects")]


def _tapis(answer: dict[str, Any]) -> list[Finding]:
    """Who gets a WebODM account by a Tapis login. A closed list is right for most sites; a whole tenant is worth knowing about."""
    if not answer["clients"]:
        return [Finding("tapis", GOOD, "no Tapis client is registered")]
    allowed = [each.strip() for each in answer["allowed"].split(",") if each.strip()]
    if not allowed:
        return [Finding("tapis", GOOD, "Tapis logins create no new accounts; people with an account can link theirs "
                                       "(WO_TAPIS_ALLOWED_USERS lets others in)")]
    if any(each in ("*", "*@*") or each.startswith("*@") for each in allowed):
        return [Finding("tapis", WARNING, f"everybody in a Tapis tenant gets an account here (WO_TAPIS_ALLOWED_USERS={answer['allowed']})",
                        "If you do not want this, list the people or use narrower patterns.")]
    return [Finding("tapis", GOOD, f"these Tapis users get an account at their first login: {', '.join(allowed)}")]


def _public(facts: dict[str, Any], web: dict[str, Any]) -> list[Finding]:
    answer = facts["public"]
    if set(answer) == {"error"}:
        return []  # the settings' own check has said it
    url = answer["openscan"]
    mend = "Set WO_OPENSCAN_PUBLIC_URL to the address that rigs use, like https://scan.example.org"
    if not url:
        text = "WO_OPENSCAN_PUBLIC_URL is not set: upload links use the address that each request was sent to"
        return [Finding("public-url", WARNING, text, mend)]
    host = urlsplit(url).hostname or ""
    if live.is_this_machine_only(host):
        return [Finding("public-url", FAULT, f"rigs cannot reach {url}: for a rig, {host} is the rig itself", mend)]
    seen = web.get("public", {})
    if seen.get("error"):
        asked = f"Run this on another machine: `curl -i {url}/api/openscan/status`. It must print \"online\""
        if seen.get("unreachable"):  # many routers do not let a machine reach its own outside address
            return [Finding("public-url", WARNING, f"this machine cannot reach {url}/api/openscan/status: {seen['error']}",
                            f"{asked}. If it does not, check the host name, the firewall, the proxy and WO_OPENSCAN_PUBLIC_URL.")]
        return [Finding("public-url", FAULT, f"{url}/api/openscan/status is not answered by the plugin: {seen['error']}",
                        f"Make the proxy forward /api/, or correct WO_OPENSCAN_PUBLIC_URL. {asked}.")]
    found = [Finding("public-url", GOOD, f"{url} answers")]
    if urlsplit(url).scheme == "https" and seen.get("scheme") == "http":
        found.append(Finding("proxy", FAULT, "the TLS proxy does not send X-Forwarded-Proto (WebODM took the request for plain http): "
                             "Tapis logins and cookies do not work like this", _proxy_mend(answer)))
    return found


def _proxy_mend(answer: dict[str, Any]) -> str:
    if not answer["proxy_header"]:
        return "Set WO_BEHIND_TLS_PROXY=YES, and make the proxy send `X-Forwarded-Proto: https` (and drop the header from clients)."
    return "Make the proxy send `X-Forwarded-Proto: https`. docs/admin/troubleshooting.md has the lines for nginx, Caddy and Apache."


def _web(web: dict[str, Any]) -> list[Finding]:
    if not web.get("url"):
        return [Finding("web", WARNING, "the web server was not checked, because its address is unknown", "Give it: doctor --url http://HOST:PORT")]
    if web.get("error"):
        return [Finding("web", FAULT, f"{web['url']} does not answer: {web['error']}", "Start WebODM, or give its address with --url.")]
    found = []
    missing = web["mounts_missing"]
    if missing:
        found.append(Finding("web", FAULT, "the running web server does not know our addresses: "
                             + ", ".join(f"{path} ({times} of {web['asked']} requests)" for path, times in missing.items()),
                             "Run `manage.py check`, then restart the web server (all gunicorn workers)."))
    for path, answer in web.get("wrong_answers", {}).items():
        found.append(Finding("web", FAULT, f"{web['url']}{path} is not answered by the plugin: {answer}",
                             "Read the web server's log (Docker: `./webodm.sh logs --tail 100`), or give the right address: "
                             "`doctor --url http://HOST:PORT`."))
    if not web["long_line"]:
        found.append(Finding("web", FAULT, "request lines of 20 kB are refused, and uploader.py and WindowsUploader.py send such lines",
                             "Start gunicorn with --limit-request-line 0 (GUNICORN_CMD_ARGS) and give nginx "
                             "`large_client_header_buffers 4 64k;` (docs/admin/install.md)."))
    return found or [Finding("web", GOOD, f"{web['url']} knows our addresses and accepts long request lines")]


#: In a container the web server is this very container's, whatever the settings call it from outside.
IN_CONTAINER = "container"


def guess_url(public: dict[str, Any], named: Optional[str] = None) -> Optional[str]:
    """Where the web server is: as `named`, else from the settings; None if nothing tells."""
    scheme = "https" if public.get("ssl") == "YES" else "http"
    if named == IN_CONTAINER:
        return f"{scheme}://localhost:8000"
    if named:
        return named
    if public.get("openscan"):
        return str(public["openscan"])
    if public.get("port"):
        return f"{scheme}://{public.get('host') or 'localhost'}:{public['port']}"
    return None


def examine(webodm: WebODM, url: Optional[str]) -> list[Finding]:
    """Looks at `webodm` and at its web server at `url` (default: from its settings)."""
    facts = webodm.probe("doctor")
    public = facts["public"] if "error" not in facts["public"] else {}
    web = live.look((guess_url(public, url) or "").rstrip("/"), public)
    return judge(facts, is_our_override(override_path(webodm)), web)


def main(webodm: WebODM, *, url: Optional[str] = None, as_json: bool = False) -> int:
    """Prints every finding; returns 1 if there is a fault, else 0."""
    findings = examine(webodm, url)
    faults = sum(finding.level == FAULT for finding in findings)
    warnings = sum(finding.level == WARNING for finding in findings)
    if as_json:
        print(json.dumps({"ok": not faults, "faults": faults, "warnings": warnings,
                          "findings": [finding._asdict() for finding in findings]}, indent=1))
        return 1 if faults else 0
    colors = {FAULT: "31", WARNING: "33", GOOD: "32"} if sys.stdout.isatty() and "NO_COLOR" not in os.environ else {}
    for finding in findings:
        word = finding.level.ljust(7)
        word = f"\033[{colors[finding.level]}m{word}\033[0m" if colors else word
        print(f"{word} {finding.name}: {finding.text}")
        if finding.level != GOOD and finding.mend:
            print(f"        -> {finding.mend}")
    counted = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((faults, "fault"), (warnings, "warning"))]
    print(", ".join([*counted, f"{len(findings) - faults - warnings} good"]))
    return 1 if faults else 0
