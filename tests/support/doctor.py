"""What doctor finds on a sound site."""

PUBLIC = "https://scan.example.org"
SOUND_WEB = {"url": PUBLIC, "mounts_missing": {}, "wrong_answers": {}, "asked": 12, "long_line": True, "public": {"scheme": "https"}}


def sound_facts() -> dict:
    return {"webodm": "3.2.4", "python": "3.9.18", "django": "2.2.27", "modules": {}, "database": {
        "version": "15.2", "missing_migrations": [], "binding": []}, "checks": [], "plugins": {
        name: {"row": True, "enabled": True, "mounted": True} for name in ("openscan_cloud", "tapis_storage")},
        "override": {"error": "", "problems": [], "apps": ["openscan", "tapis"], "includes": ["a", "b"]},
        "broker": {"workers": {"celery@a": ["app_extensions.openscan", "app_extensions.tapis"]}},
        "beat": {"entries": ["x"], "age_seconds": 5}, "owners": {"nodes": 1, "owners": [{"user": "a", "nodes": 1, "online": 1}]},
        "queue": {"name": "extensions", "default": "celery", "workers": ["extensions@a"], "unit": "worker.service"},
        "preset": {"name": "3D Model", "missing": [], "system": ["3D Model", "Default"]},
        "mail": {"backend": "django.core.mail.backends.smtp.EmailBackend", "host": "h", "port": 25, "from": "a@b.c", "error": ""},
        "public": {"openscan": PUBLIC, "proxy_header": []}, "disk": {"directory": "/", "free_bytes": 10**12, "reserve_bytes": 1},
        "tapis": {"clients": 0, "allowed": ""},
        "objects": {"place": "https://s3.example.org/scans", "problem": ""}}
