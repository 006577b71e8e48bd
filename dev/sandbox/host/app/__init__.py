"""The part of WebODM's application package that the sandbox needs."""

default_app_config = "app.apps.MainConfig"
