"""Processing options out of WebODM's presets, cut down to what a node offers."""
from collections.abc import Iterable, Mapping
from typing import Optional, Union

from app.models import Preset
from django.contrib.auth.models import User
from django.db.models import Q

from app_extensions.host.nodes import NodeInfo


def ensure_system_preset(name: str, options: Mapping[str, Union[str, bool]]) -> bool:
    """Make a preset for all users where there is none of that name; returns whether it was made. What an administrator changed stays."""
    _, made = Preset.objects.get_or_create(
        name=name, system=True, defaults={"options": [{"name": key, "value": value} for key, value in options.items()]})
    return made


def preset_names(user: Optional[User] = None) -> list[str]:
    """The names that :func:`preset_options` takes for this user: the own presets' and the system's, in order of the alphabet."""
    names = Preset.objects.filter(Q(owner=user) | Q(system=True) if user else Q(system=True)).values_list("name", flat=True)
    return sorted({name for name in names if name}, key=str.lower)


def has_preset(name: str, user: User) -> bool:
    """Whether :func:`preset_options` finds something."""
    return Preset.objects.filter(Q(owner=user) | Q(system=True), name__iexact=name).exists()


def preset_options(name: str, user: Optional[User] = None) -> list[dict]:
    """The options of the user's own preset of that name, else of the system's. Raises LookupError where there is none."""
    own = Preset.objects.filter(name__iexact=name, owner=user).order_by("-created_at").first() if user else None
    preset = own or Preset.objects.filter(name__iexact=name, system=True).order_by("id").first()
    if preset is None:
        raise LookupError(f"there is no preset named {name!r}")
    return [dict(option) for option in preset.options]


def filter_options(options: Iterable[dict], node: Optional[NodeInfo]) -> list[dict]:
    """Those options that the node knows, without those whose value is false (WebODM refuses a task that has some).

    Without a node, or with one that has not told its options yet, none is left out for being unknown.
    """
    known = node.option_names if node is not None and node.options else None
    return [option for option in options
            if option.get("value") and (known is None or option["name"] in known)]
