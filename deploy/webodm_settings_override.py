# Written by `webodm.sh install` (OpenScan Cloud and Tapis storage); `webodm.sh uninstall` takes it back.
# A settings override of your own belongs into settings_override_site.py beside this file: it is loaded from here.
import sys as _sys

try:
    from app_extensions.settings_override import *  # noqa: F403
except ImportError as _error:
    # WebODM ignores an ImportError in this file: it runs without us, and only this line tells.
    print(f"webodm/settings_override.py: OpenScan Cloud and Tapis storage are not loaded: {_error} (ask `webodm.sh doctor`)",
          file=_sys.stderr)
    from webodm.settings_override_site import *  # noqa: F403
