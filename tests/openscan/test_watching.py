"""Figures for monitoring and the health page, over live HTTP."""
import re

import requests

SAMPLE = re.compile(r'^[a-z_:][a-z0-9_:]*(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (-?[0-9.e+-]+|NaN|\+Inf)$')


def admin(stack) -> tuple:
    return stack.config["admin_user"], stack.config["admin_password"]


def figures(text: str) -> dict:
    """Sample to value; every line is checked against the text format, and every sample has its HELP and TYPE."""
    found, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
            assert line.split()[3] in ("gauge", "counter")
        elif not line.startswith("# HELP "):
            assert SAMPLE.match(line), line
            name, value = line.rsplit(" ", 1)
            assert name.split("{")[0] in typed, line
            assert name not in found, f"{name} twice"
            found[name] = float(value)
    return found


def test_figures_follow_what_happens(stack, live_db, unique):
    from app_extensions.openscan.models import Scan
    from app_extensions.openscan.tokens import create_token, default_owner

    url = f"{stack.address()}/api/plugins/openscan_cloud/metrics"
    before = figures(requests.get(url, auth=admin(stack), timeout=120).text)
    token, secret = create_token(kind="private", owner=default_owner(), mail=f"{unique}@example.org", forename="A", surname="B",
                                 credit_bytes=5_000_000)
    created = requests.get(f"{stack.address()}/api/openscan/createProject", auth=("openscan", "free"), timeout=120, params={
        "token": secret, "project": unique, "photos": 3, "parts": 1, "filesize": 1000})
    assert created.status_code == 200, created.text
    answer = requests.get(url, auth=admin(stack), timeout=120)
    after = figures(answer.text)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert after['openscan_scans{state="created"}'] >= before['openscan_scans{state="created"}'] + 1
    assert after['openscan_tokens{kind="private"}'] >= before.get('openscan_tokens{kind="private"}', 0) + 1
    assert secret not in answer.text and unique not in answer.text, "figures name nobody"
    for name in ("openscan_received_bytes_total", "tapis_sync_bytes_total", 'openscan_failures{cause="processing"}',
                 'openscan_oldest_seconds{stage="queue"}', 'tapis_jobs{kind="sync",state="running"}'):
        assert name in after
    assert {f'openscan_scans{{state="{state}"}}' for state, _ in Scan.STATES} <= set(after)


def test_figures_are_for_admins(stack, live_db, unique):
    from django.contrib.auth.models import User

    User.objects.create_user(unique, password=unique)
    for path in ("/api/plugins/openscan_cloud/metrics", "/api/openscan/metrics"):
        url = stack.address() + path
        assert requests.get(url, timeout=120).status_code == 401
        assert requests.get(url, auth=("openscan", "free"), timeout=120).status_code == 401, "the rigs' pair opens nothing"
        assert requests.get(url, auth=(unique, unique), timeout=120).status_code == 403
        assert requests.get(url, auth=(unique, "wrong"), timeout=120).status_code == 401
        assert requests.get(url, auth=admin(stack), timeout=120).status_code == 200


def test_health(stack, live_db):
    from app.models import Plugin

    url = f"{stack.address()}/api/openscan/health"
    answer = requests.get(url, timeout=120)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "scheme": "http"})
    assert "no-store" in answer.headers["Cache-Control"]
    Plugin.objects.filter(name="openscan_cloud").update(enabled=False)
    try:
        assert requests.get(url, timeout=120).status_code == 503
    finally:
        Plugin.objects.filter(name="openscan_cloud").update(enabled=True)


def test_labels_are_escaped(monkeypatch):
    from app_extensions.shared import metrics

    odd = metrics.Metric("odd", 'a "b"\nc').add(1.5, name='x"\\\n')
    monkeypatch.setattr(metrics, "_collectors", {"test": lambda: [odd]})
    assert metrics.render() == '# HELP odd a "b"\\nc\n# TYPE odd gauge\nodd{name="x\\"\\\\\\n"} 1.5\n'
