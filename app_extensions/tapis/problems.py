"""Errors around Tapis, with messages for people and programs.

Every problem has an HTTP status, a short ``error`` (one of the documented phrases) and a ``detail``. None contains a token, a
secret or a raw answer of the authenticator.
"""
from typing import Any, Union


class TapisProblem(Exception):
    """Base of all problems: Tapis, or this app, did not do what was asked."""

    status = 502
    error = "Tapis did not answer as expected"

    def __init__(self, detail: str = "", *, status: int = 0, error: str = "") -> None:
        """:param detail: a sentence for the user; :param status, error: replace the class's own"""
        super().__init__(detail or self.error)
        self.detail = detail or self.error
        self.status = status or type(self).status
        self.error = error or type(self).error

    def __str__(self) -> str:
        return self.error if self.detail == self.error else f"{self.error}: {self.detail}"

    def as_dict(self) -> dict[str, Union[bool, str]]:
        """The body of a REST answer."""
        return {"success": False, "error": self.error, "detail": self.detail}


class NoToken(TapisProblem):
    """The user has never logged in to Tapis here, or has revoked the login."""

    status = 401
    error = "No Tapis token found"


class TokenExpired(TapisProblem):
    """The token has expired or was revoked, and could not be refreshed."""

    status = 401
    error = "Token expired"


class SystemNotAccessible(TapisProblem):
    """A system is missing (404), forbidden or without credentials (403), disabled, or does not answer (502)."""

    status = 403
    error = "System not accessible"


class PathNotFound(SystemNotAccessible):
    """The system answers, but the path does not exist."""

    status = 404


class RequestRefused(SystemNotAccessible):
    """Tapis answers 400: the system is disabled, or its type does not support the request."""

    status = 502


class NoClient(TapisProblem):
    """No active OAuth2 client is registered here, or none with this id."""

    status = 404
    error = "No Tapis client found"


class TapisUnreachable(TapisProblem):
    """No connection to Tapis, or 5xx after all attempts."""

    status = 502
    error = "Tapis is not reachable"


class SyncRefused(TapisProblem):
    """A sync cannot start or continue for a local reason: quota, disk, or a task that is being processed."""

    status = 409
    error = "The sync cannot go on"


class BadInput(TapisProblem):
    """A request has an invalid field. The problem names the field."""

    status = 400
    error = "Bad request"

    def __init__(self, field: str, message: str) -> None:
        """:param field: the field's name, as the client wrote it; :param message: what the field must be"""
        super().__init__(f"{field}: {message}")
        self.field = field
        self.fields = {field: message}

    @classmethod
    def several(cls, fields: dict[str, str]) -> "BadInput":
        """One problem for several fields. :param fields: field name → what the field must be; at least one"""
        problem = cls(*next(iter(fields.items())))
        problem.fields = dict(fields)
        problem.detail = "; ".join(f"{field}: {message}" for field, message in fields.items())
        return problem

    def as_dict(self) -> dict[str, Any]:
        """The body of a REST answer, with the name of the first field, and the message of each field."""
        return {**super().as_dict(), "field": self.field, "fields": self.fields}
