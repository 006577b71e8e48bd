"""The shape of processing options: a list of ``{"name": …, "value": …}``."""
from django.core.exceptions import ValidationError


def validate_task_options(value) -> None:
    """Raises ValidationError unless every option has a name and a value that is true.

    A value of False, 0 or "" fails: WebODM leaves such options out instead of switching them off.
    """
    try:
        valid = all(option["name"] and option["value"] for option in value)
    except (KeyError, TypeError):
        valid = False
    if not valid:
        raise ValidationError("Invalid options")
