"""Read, check and change a user's preferences."""
from datetime import timedelta
from typing import Any, Callable, Optional

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from app_extensions.host import presets as host_presets
from app_extensions.tapis.models import TapisPreferences
from app_extensions.tapis.problems import BadInput
from app_extensions.tapis.system_ids import check_system_ids


def preferences_of(user: Any) -> TapisPreferences:
    """The user's preferences, or an unsaved object with the defaults if the user never set any."""
    return TapisPreferences.objects.filter(user_id=user.pk).first() or TapisPreferences(user_id=user.pk)


def as_dict(preferences: TapisPreferences) -> "dict[str, Any]":
    """The documented form of the preferences."""
    found = {key: getattr(preferences, key) for key in KEYS}
    last = preferences.last_auto_discovery
    found["last_auto_discovery"] = last.isoformat() if last else None
    return found


def change(user: Any, changes: Any) -> TapisPreferences:
    """Set some of the preferences. All values are checked before any is written.

    :raises BadInput: unknown keys and invalid values, with a reason for each
    """
    if not isinstance(changes, dict) or not changes:
        raise BadInput("preferences", "send an object with at least one of " + ", ".join(KEYS))
    checked, wrong = {}, {}
    for key, value in changes.items():
        try:
            if key not in KEYS:
                raise BadInput(str(key), "is not a preference; choose from " + ", ".join(KEYS))
            checked[key] = KEYS[key](user, key, value)
        except BadInput as problem:
            wrong.update(problem.fields)
    if wrong:
        raise BadInput.several(wrong)
    with transaction.atomic():
        TapisPreferences.objects.get_or_create(user_id=user.pk)
        preferences = TapisPreferences.objects.select_for_update().get(user_id=user.pk)
        for key, value in checked.items():
            setattr(preferences, key, value)
        preferences.save(update_fields=list(checked))
    return preferences


def note_auto_discovery(user: Any) -> bool:
    """If the user's cooldown is over, start a new one. :returns: whether an automatic discovery may start now"""
    with transaction.atomic():
        TapisPreferences.objects.get_or_create(user_id=user.pk)
        preferences = TapisPreferences.objects.select_for_update().get(user_id=user.pk)
        now = timezone.now()
        last = preferences.last_auto_discovery
        if last and now - last < timedelta(hours=preferences.discovery_cooldown_hours):
            return False
        preferences.last_auto_discovery = now
        preferences.save(update_fields=["last_auto_discovery"])
    return True


def give_back_auto_discovery(user: Any, last: Optional[str]) -> None:
    """Undo ``note_auto_discovery`` for a discovery that failed. :param last: the time before it, as ISO 8601, or None"""
    moment = parse_datetime(last) if last else None
    TapisPreferences.objects.filter(user_id=user.pk).update(last_auto_discovery=moment)


def _boolean(user: Any, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInput(key, "must be true or false")
    return value


def _number(low: int, high: int) -> "Callable[[Any, str, Any], int]":
    def check(user: Any, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadInput(key, f"must be a whole number from {low} to {high}")
        return value
    return check


def _systems(user: Any, key: str, value: Any) -> "list[str]":
    if not isinstance(value, list):
        raise BadInput(key, "must be a list of system ids")
    return check_system_ids(value, key) or []


def _moment(user: Any, key: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise BadInput(key, "must be null or a time such as 2024-01-01T12:00:00Z")
    moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment, timezone.utc)
    if moment.year < 2000:  # near the year 1, Python cannot represent what the database returns
        raise BadInput(key, "must be after the year 2000; null ends the cooldown")
    if moment > timezone.now() + timedelta(minutes=5):
        raise BadInput(key, "must not be in the future: there would be no automatic discovery until then")
    return moment


def check_preset(user: Any, key: str, value: Any) -> str:
    """Check the name of a preset of the user; empty stands for the node's defaults. :raises BadInput: there is no such preset"""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or len(value) > 255:
        raise BadInput(key, "must be the name of a preset, or empty")
    try:
        host_presets.preset_options(value, user)
    except LookupError:
        raise BadInput(key, f"there is no preset named {value}") from None
    return value


#: Every key, in the documented order, and the function that checks its values.
KEYS: "dict[str, Callable[[Any, str, Any], Any]]" = {
    "auto_discover_on_login": _boolean,
    "max_projects_per_discovery": _number(1, 10_000),
    "discovery_cooldown_hours": _number(0, 8760),
    "notify_on_discovery_complete": _boolean,
    "notify_on_discovery_errors": _boolean,
    "preferred_systems": _systems,
    "last_auto_discovery": _moment,
    "sync_on_discovery": _boolean,
    "process_after_sync": _boolean,
    "processing_preset": check_preset,
}
