# Written by `webodm.sh install` (OpenScan Cloud and Tapis storage); `webodm.sh uninstall` removes it.
# Put your own settings override into settings_override_site.py beside this file: this file loads it.
import sys as _sys

try:
    from app_extensions.settings_override import *  # noqa: F403
except ImportError as _error:
    # WebODM ignores an ImportError in this file: it runs without the plugins, and only this line says so.
    print(f"webodm/settings_override.py: OpenScan Cloud and Tapis storage are not loaded: {_error} (run `webodm.sh doctor`)",
          file=_sys.stderr)
    from webodm.settings_override_site import *  # noqa: F403
