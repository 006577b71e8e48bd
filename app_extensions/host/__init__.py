"""The one door to WebODM's own code: nothing else of ours imports ``app.*``, ``nodeodm.*`` or ``worker.*``.

(``plugin.py`` of a plugin does too: it needs ``app.plugins``, and must load without this package.) The facts that these
modules rely on are in ``contracts/webodm.md``; ``tests/contract`` holds each of them against the sandbox and a real WebODM.
"""
