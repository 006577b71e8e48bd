"""Steering the stand-in Tapis from tests, and logging in through it as a browser does."""
import re
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

import requests

from dev.standins.tapis import CLIENT_ID

#: Tokens that are no access token of a person in the tenant; what ``StandIn.token`` takes as ``kind``.
FALSE_KINDS = ("forged", "tampered", "none", "hs256", "wrong_tenant", "wrong_issuer", "refresh", "service", "expired")

PAGE = {"Accept": "text/html,application/xhtml+xml"}


class StandIn:
    """The control API of a running stand-in."""

    def __init__(self, base: str) -> None:
        self.base = base

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.base}/_{path}", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def counters(self) -> dict[str, int]:
        """Calls by operation so far."""
        return self._call("GET", "counters")["calls"]

    def peaks(self) -> dict[str, int]:
        """Greatest numbers at the same time."""
        return self._call("GET", "counters")["peaks"]

    def is_sending(self) -> bool:
        """Whether it sends an image at the moment."""
        return bool(self._call("GET", "counters")["running"].get("content"))

    def reset(self) -> None:
        """No faults, default settings, counters at zero."""
        self._call("DELETE", "faults")
        self._call("POST", "settings", {
            "access_seconds": 14400, "refresh_seconds": 31536000, "code_seconds": 600, "token_status": 200,
            "latency_ms": 0, "regex_full_match": False, "idle_seconds": 5.0, "refresh": "works",
        })
        self._call("POST", "counters/reset")

    def fault(self, kind: str, **more: Any) -> None:
        """Switch a fault on; see ``dev/standins/tapis/control.py``."""
        self._call("POST", "faults", {"kind": kind, **more})

    def faults(self) -> list[dict]:
        """The faults with their hits."""
        return self._call("GET", "faults")["faults"]

    def end_faults(self) -> None:
        """Switch all faults off."""
        self._call("DELETE", "faults")

    def settings(self, **values: Any) -> None:
        """Change settings."""
        self._call("POST", "settings", values)

    def user(self, username: str, service: bool = False) -> str:
        """Make a user."""
        return self._call("POST", "users", {"username": username, "service": service})["username"]

    def client(self, client_id: str, callback_url: str, client_key: str = "") -> str:
        """Register a client. :return: its key"""
        body = {"client_id": client_id, "callback_url": callback_url, "client_key": client_key}
        return self._call("POST", "clients", body)["client_key"]

    def system(self, system_id: str, owner: str, **more: Any) -> str:
        """Make a system."""
        return self._call("POST", "systems", {"id": system_id, "owner": owner, **more})["id"]

    def flight(self, system: str, flight: str, count: int, **more: Any) -> None:
        """Make a generated flight."""
        self._call("POST", "flights", {"system": system, "flight": flight, "count": count, **more})

    def file(self, system: str, path: str, action: str = "put", **more: Any) -> None:
        """Lay, link or remove a file."""
        self._call("POST", "files", {"system": system, "path": path, "action": action, **more})

    def token(self, username: str, kind: str = "access", **more: Any) -> str:
        """A token of any kind, false ones too."""
        return self._call("POST", "tokens", {"username": username, "kind": kind, **more})["token"]

    def pair(self, username: str, client_id: str = CLIENT_ID) -> dict:
        """An access and a refresh token as the authenticator gives them."""
        return self._call("POST", "tokens", {"username": username, "kind": "pair", "client_id": client_id})

    def expire(self, username: str = "") -> int:
        """End the access tokens given out so far."""
        return self._call("POST", "tokens/expire", {"username": username})["ended"]

    def rotate_key(self) -> None:
        """Give the tenant another key."""
        self._call("POST", "key/rotate")


class Browser(requests.Session):
    """A person's browser at a WebODM: keeps cookies, asks for pages."""

    def __init__(self, web: str) -> None:
        super().__init__()
        self.web = web
        self.headers.update(PAGE)

    def sign_in(self, username: str, password: str) -> None:
        """WebODM's own login."""
        page = self.get(f"{self.web}/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text).group(1)
        answer = self.post(
            f"{self.web}/login/", data={"username": username, "password": password, "csrfmiddlewaretoken": token},
            headers={"Referer": f"{self.web}/login/"}, allow_redirects=False,
        )
        assert answer.status_code == 302, answer.text

    def authorize(self, client_id: str = CLIENT_ID, **query: str) -> requests.Response:
        """Our authorize address, not followed."""
        url = f"{self.web}/api/oauth2/tapis/authorize/{client_id}/"
        return self.get(url, params=query, allow_redirects=False)

    def at_tapis(self, authorization_url: str, username: str, approve: str = "yes") -> requests.Response:
        """The person logs in at Tapis. :return: Tapis' answer, normally the redirect to our callback"""
        query = {name: values[0] for name, values in parse_qs(urlsplit(authorization_url).query).items()}
        page = requests.get(authorization_url, timeout=120)
        assert page.status_code == 200, page.text
        base = "{0.scheme}://{0.netloc}".format(urlsplit(authorization_url))
        return requests.post(
            f"{base}/v3/oauth2/login", data={**query, "username": username, "approve": approve},
            allow_redirects=False, timeout=120,
        )

    def log_in(self, username: str, client_id: str = CLIENT_ID, **query: str) -> requests.Response:
        """The whole way through the real redirects. :return: the callback's answer, not followed"""
        begun = self.authorize(client_id, **query)
        assert begun.status_code == 302, begun.text
        back = self.at_tapis(begun.headers["Location"], username)
        assert back.status_code == 302, back.text
        return self.get(back.headers["Location"], allow_redirects=False)

    def csrf(self, text: Optional[str] = None) -> dict[str, str]:
        """Headers with which this browser's scripts may POST."""
        return {"X-CSRFToken": self.cookies.get("csrftoken", ""), "Referer": self.web + "/"}
