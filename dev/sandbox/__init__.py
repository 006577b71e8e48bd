"""A WebODM-shaped host without Docker: real PostgreSQL, Redis, Celery and gunicorn from pip wheels, a processing node, a stand-in Tapis."""
