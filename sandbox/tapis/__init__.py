"""A stand-in for Tapis v3: tenants, OAuth2, systems and files, as much of it as this project talks to.

``python -m sandbox.tapis --port P --data DIR --flights DIR`` serves it on loopback. It behaves as the real services do where
they surprise (see ``world.py``, ``oauth2.py``, ``systems.py``, ``files.py``), and is steered by a control API under ``/_…``
(see ``control.py``) that switches faults on, makes flights, users, clients and (forged) tokens, and counts calls.
"""
