"""The WSGI callable that gunicorn serves, and the flag that tells the forked workers that one of them has booted."""
import os
from multiprocessing import Value

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webodm.settings")

application = get_wsgi_application()

# Shared memory: gunicorn's --preload forks after this line, so the first worker that boots is seen by all.
booted = Value("b", False)
