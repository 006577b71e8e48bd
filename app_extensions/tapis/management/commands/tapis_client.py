"""``manage.py tapis_client``: register an OAuth2 client in this WebODM, change it, or list all clients."""
import getpass
import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import TapisOAuth2Client


class Command(BaseCommand):
    """Registers a client. Reads the secret from standard input, because all users of the machine can see arguments."""

    help = (
        "Registers an OAuth2 client, which must exist at Tapis, in this WebODM, or changes it. Without arguments, lists the "
        "clients. The client's secret (Tapis' client_key) is read from standard input."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The same fields as on the administration page, without the secret."""
        parser.add_argument("--client-id")
        parser.add_argument("--callback-url", help="exactly as registered: https://<WebODM>/api/oauth2/tapis/callback/")
        parser.add_argument("--name", help="what people see on the login page (default: Tapis <tenant>)")
        parser.add_argument("--tenant-id", default=conf.tenant_id)
        parser.add_argument("--base-url", default=conf.base_url)
        parser.add_argument("--inactive", action="store_true", help="switch it off")

    def handle(self, *args: Any, **options: Any) -> None:
        """Register, change or list clients. :raises CommandError: invalid values, with their fields' names"""
        if not options["client_id"]:
            for client in TapisOAuth2Client.objects.all():
                state = "active" if client.is_active else "inactive"
                self.stdout.write(f"{client.client_id}\t{client.tenant_id}\t{client.base_url}\t{state}\t{client.name}")
            return
        key = {"client_id": options["client_id"], "tenant_id": options["tenant_id"], "base_url": options["base_url"].rstrip("/")}
        client = TapisOAuth2Client.objects.filter(**key).first() or TapisOAuth2Client(**key)
        client.name = options["name"] or client.name or f"Tapis {client.tenant_id}"
        client.callback_url = options["callback_url"] or client.callback_url
        client.is_active = not options["inactive"]
        secret = getpass.getpass("client_key: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
        client.client_secret, client.secret_entered = secret or client.client_secret, bool(secret)
        made = client.pk is None
        try:
            client.full_clean()
        except ValidationError as error:
            problems = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items())
            raise CommandError(problems) from None
        client.save()
        self.stdout.write(f"{'Registered' if made else 'Changed'} the client {client.client_id} of tenant {client.tenant_id}.")
