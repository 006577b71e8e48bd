"""The only package that imports WebODM's own code (``app.*``, ``nodeodm.*``, ``worker.*``).

The exception is each plugin's ``plugin.py``, which needs ``app.plugins`` and must load without this package. ``contracts/webodm.md`` lists
the facts about WebODM that these modules rely on. ``tests/contract`` checks each fact against the sandbox and a real WebODM.
"""
