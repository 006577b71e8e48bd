"""Settings of the sandbox host: those of WebODM's names and values that an extension can notice.

What a machine decides comes from the environment, under WebODM's own variables where it has them. ``SANDBOX_DATA`` is the
one variable that WebODM does not know: the directory that holds the media, the site's override and the secret key.
"""
import datetime
import os
import sys

from django.contrib.messages import constants as messages
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import get_random_string

BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERSION = "3.2.4"

if not os.environ.get("SANDBOX_DATA"):
    raise ImproperlyConfigured("SANDBOX_DATA is not set: it names the sandbox's data directory")
SANDBOX_DATA = os.path.abspath(os.environ["SANDBOX_DATA"])
os.makedirs(SANDBOX_DATA, exist_ok=True)


def _secret_key() -> str:
    """The key from the environment, or one that is made once and kept with the data (mode 0600)."""
    if os.environ.get("WO_SECRET_KEY"):
        return os.environ["WO_SECRET_KEY"]
    path = os.path.join(SANDBOX_DATA, "secret_key")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        with open(path, encoding="ascii") as existing:
            return existing.read().strip()
    with os.fdopen(handle, "w", encoding="ascii") as created:
        key = get_random_string(50)
        created.write(key)
    return key


SECRET_KEY = _secret_key()

# The first word of the command line decides, as in WebODM: pytest therefore is not "testing".
TESTING = sys.argv[1:2] == ["test"]
FLUSHING = sys.argv[1:2] == ["flush"]
MIGRATING = sys.argv[1:2] == ["migrate"]
WORKER_RUNNING = sys.argv[2:3] == ["worker"]

DEBUG = os.environ.get("WO_DEBUG", "YES") == "YES" or TESTING
DEV = False
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("WO_SSL", "NO") == "YES"
INTERNAL_IPS = ["127.0.0.1"]
ALLOWED_HOSTS = ["*"]

APP_NAME = "WebODM sandbox"
SINGLE_USER_MODE = False
ENABLE_USERS_API = True
PLUGINS_BLACKLIST = []
FORCE_MEDIA_STATICFILES = False

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_filters",
    "guardian",
    "rest_framework",
    "rest_framework_nested",
    "corsheaders",
    "app",
    "nodeodm",
]

MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.locale.LocaleMiddleware",
]

ROOT_URLCONF = "webodm.urls"
WSGI_APPLICATION = "webodm.wsgi.application"

DATABASES = {
    "default": {
        # No field here is geographic, so plain PostgreSQL does where WebODM needs PostGIS.
        "ENGINE": os.environ.get("WO_DATABASE_ENGINE", "django.db.backends.postgresql"),
        "NAME": os.environ.get("WO_DATABASE_NAME", "webodm_dev"),
        "USER": os.environ.get("WO_DATABASE_USER", "postgres"),
        "PASSWORD": os.environ.get("WO_DATABASE_PASSWORD", "postgres"),
        "HOST": os.environ.get("WO_DATABASE_HOST", "db"),
        "PORT": os.environ.get("WO_DATABASE_PORT", "5432"),
    }
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation." + name}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = (
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
)
LOGIN_REDIRECT_URL = "/dashboard/"
LOGIN_URL = "/login/"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "Etc/UTC"
USE_I18N = True
USE_L10N = True
USE_TZ = True

CORS_ORIGIN_ALLOW_ALL = True
CORS_ALLOW_CREDENTIALS = True
SESSION_COOKIE_SAMESITE = None

STATIC_URL = "/static/"
STATIC_ROOT = os.path.join(SANDBOX_DATA, "static")

MEDIA_ROOT = os.path.join(SANDBOX_DATA, "media_test" if TESTING else "media")
MEDIA_TMP = os.path.join(MEDIA_ROOT, "tmp")
MEDIA_CACHE = os.path.join(MEDIA_ROOT, "CACHE")
FILE_UPLOAD_TEMP_DIR = MEDIA_TMP
FILE_UPLOAD_MAX_MEMORY_SIZE = 4718592
DATA_UPLOAD_MAX_MEMORY_SIZE = 10485760
DATA_UPLOAD_MAX_NUMBER_FIELDS = None
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "app.uploadhandler.TemporaryFileUploadHandler",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # BASE_DIR gives app/plugins/templates/base.html, MEDIA_ROOT gives plugins/<name>/templates/….
        "DIRS": [
            os.path.join(BASE_DIR, "app", "templates"),
            os.path.join(BASE_DIR, "app", "templates", "app"),
            BASE_DIR,
            MEDIA_ROOT,
        ],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "app.contexts.settings.load",
            ],
        },
    },
]

MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
MESSAGE_TAGS = {messages.ERROR: "danger"}

REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.DjangoObjectPermissions"],
    "DEFAULT_FILTER_BACKENDS": [
        "rest_framework_guardian.filters.ObjectPermissionsFilter",
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_AUTHENTICATION_CLASSES": (
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework_jwt.authentication.JSONWebTokenAuthentication",
        "app.api.authentication.JSONWebTokenAuthenticationQS",
    ),
    "PAGE_SIZE": 10,
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
}
JWT_AUTH = {"JWT_EXPIRATION_DELTA": datetime.timedelta(hours=6)}

CELERY_BROKER_URL = os.environ.get("WO_BROKER", "redis://localhost")
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_INCLUDE = ["worker.tasks", "app.plugins.worker"]
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

if DEBUG and not TESTING:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
else:
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": CELERY_BROKER_URL,
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"simple": {"format": "%(levelname)s %(message)s"}},
    "handlers": {"console": {"level": "INFO", "class": "logging.StreamHandler", "formatter": "simple"}},
    "loggers": {
        "django": {"handlers": ["console"], "propagate": True, "level": "WARNING"},
        "app.logger": {"handlers": ["console"], "level": "INFO"},
    },
}

NODE_OFFLINE_MINUTES = 5
NODE_OPTIMISTIC_MODE = False
EXTERNAL_AUTH_ENDPOINT = ""
CLUSTER_ID = None
QUOTA_EXCEEDED_GRACE_PERIOD = 8
QUOTA_EXCEEDED_NOTIFY_URL = None
UI_MAX_PROCESSING_NODES = None
CLEANUP_PARTIAL_TASKS = 72
CLEANUP_EMPTY_PROJECTS = None
WORKERS_MAX_THREADS = 2
WORKERS_MAX_TIME_LIMIT = None
DASHBOARD_ONBOARDING = True

if TESTING or FLUSHING:
    CELERY_TASK_ALWAYS_EAGER = True

# WebODM swallows an ImportError here, and so an override that cannot import something is silently absent. So does this.
try:
    from .settings_override import *  # noqa: F403
except ImportError:
    pass
