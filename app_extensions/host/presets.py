"""Processing options from WebODM's presets, filtered by what a node supports."""
from collections.abc import Iterable, Mapping
from typing import Optional, Union

from app.models import Preset
from django.contrib.auth.models import User
from django.db.models import Q

from app_extensions.host.nodes import NodeInfo


def ensure_system_preset(name: str, options: Mapping[str, Union[str, bool]]) -> bool:
    """Make a preset for all users unless one with that name exists, so an administrator's changes stay. Returns whether it was made."""
    _, made = Preset.objects.get_or_create(
        name=name, system=True, defaults={"options": [{"name": key, "value": value} for key, value in options.items()]})
    return made


def preset_names(user: Optional[User] = None) -> list[str]:
    """The names that :func:`preset_options` accepts for this user: the user's own presets and the system's, sorted."""
    names = Preset.objects.filter(Q(owner=user) | Q(system=True) if user else Q(system=True)).values_list("name", flat=True)
    return sorted({name for name in names if name}, key=str.lower)


def has_preset(name: str, user: User) -> bool:
    """Whether :func:`preset_options` finds a preset."""
    return Preset.objects.filter(Q(owner=user) | Q(system=True), name__iexact=name).exists()


def preset_options(name: str, user: Optional[User] = None) -> list[dict]:
    """The options of the user's own preset with that name, else of the system's. Raises LookupError if there is none."""
    own = Preset.objects.filter(name__iexact=name, owner=user).order_by("-created_at").first() if user else None
    preset = own or Preset.objects.filter(name__iexact=name, system=True).order_by("id").first()
    if preset is None:
        raise LookupError(f"there is no preset named {name!r}")
    return [dict(option) for option in preset.options]


def filter_options(options: Iterable[dict], node: Optional[NodeInfo]) -> list[dict]:
    """Keep the options that the node supports and that have a true value. WebODM refuses a task with a false value.

    If there is no node, or its options are not known yet, no option is dropped as unsupported.
    """
    known = node.option_names if node is not None and node.options else None
    return [option for option in options
            if option.get("value") and (known is None or option["name"] in known)]
