"""The sandbox's stand-in for WebODM's project package.

A real WebODM gets a site's settings as a file mounted at ``webodm/settings_override.py``. Here the directory
``$SANDBOX_DATA/site`` stands in front of this package's own directory, so that ``webodm.settings_override`` and
``webodm.settings_override_site`` are found there and nowhere in the repository.
"""
import os

_data = os.environ.get("SANDBOX_DATA", "")
if _data:
    __path__.insert(0, os.path.join(os.path.abspath(_data), "site"))
