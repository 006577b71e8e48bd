"""Makes the site's settings known to every template."""
from app.models import Setting


def load(request=None) -> dict:
    """The one row of settings, as ``SETTINGS``."""
    return {"SETTINGS": Setting.objects.first()}
