"""A stand-in for Tapis v3: tenants, OAuth2, systems and files, as much of it as this project talks to.

``python -m dev.standins.tapis --port P --data DIR --flights DIR`` serves it on loopback. It behaves as the real services do where
they surprise (see ``world.py``, ``oauth2.py``, ``systems.py``, ``files.py``), and is steered by a control API under ``/_…``
(see ``control.py``) that switches faults on, makes flights, users, clients and (forged) tokens, and counts calls.
"""

TENANT = "portals"
#: A client that is registered from the start; the secret guards nothing but this stand-in on loopback.
CLIENT_ID = "webodm-sandbox"
CLIENT_SECRET = "stand-in-client-key"
#: Users who can log in: two who share real flights, one with access to nothing, one who sees every oddity.
USERS = ("alice", "bob", "carol", "tester")
