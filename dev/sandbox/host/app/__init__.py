"""WebODM's application package, as far as the sandbox needs it."""

default_app_config = "app.apps.MainConfig"
