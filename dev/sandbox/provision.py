"""What a fresh WebODM has after its first login: an administrator, a processing node, our plugins enabled, a Tapis client.

Run by the supervisor with a sandbox's environment; it migrates the database first. Everything here may be run again.
"""
import os

import django


def provision() -> None:
    """Makes the rows that are missing; leaves those alone that somebody has changed."""
    from app.boot import fill_database
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from guardian.shortcuts import assign_perm
    from nodeodm.models import ProcessingNode

    call_command("migrate", interactive=False, verbosity=0)
    fill_database()
    if not User.objects.filter(is_superuser=True).exists():
        User.objects.create_superuser(os.environ["SANDBOX_ADMIN_USER"], "admin@sandbox.test",
                                      os.environ["SANDBOX_ADMIN_PASSWORD"])
    node, made = ProcessingNode.objects.get_or_create(hostname="127.0.0.1", port=int(os.environ["SANDBOX_NODE_PORT"]),
                                                      defaults={"label": "sandbox-node"})
    if made:  # WebODM gives nobody a node by itself: the tasks of users without one wait for ever
        assign_perm("view_processingnode", Group.objects.get(name="Default"), node)
    enable_plugins()
    if os.environ.get("SANDBOX_TAPIS"):
        register_tapis_client(os.environ["SANDBOX_TAPIS"], os.environ["SANDBOX_WEB"])


def enable_plugins() -> None:
    """Finds the plugins and switches ours on at their first sight; an administrator's later choice stays."""
    from app.models import Plugin
    from app.plugins import sync_plugin_db

    known = set(Plugin.objects.values_list("name", flat=True))
    sync_plugin_db()
    Plugin.objects.exclude(name__in=known).update(enabled=True)


def register_tapis_client(tapis_url: str, web_url: str) -> None:
    """Registers the stand-in Tapis's own client, with the addresses of this sandbox."""
    from app_extensions.tapis.models import TapisOAuth2Client
    from dev.standins.tapis import CLIENT_ID, CLIENT_SECRET, TENANT

    client = TapisOAuth2Client.objects.filter(client_id=CLIENT_ID).first() or TapisOAuth2Client(client_id=CLIENT_ID)
    client.client_secret = CLIENT_SECRET
    client.name = "Sandbox Tapis"
    client.tenant_id = TENANT
    client.base_url = tapis_url
    client.callback_url = f"{web_url}/api/oauth2/tapis/callback/"
    client.is_active = True
    client.save()


if __name__ == "__main__":
    django.setup()
    provision()
