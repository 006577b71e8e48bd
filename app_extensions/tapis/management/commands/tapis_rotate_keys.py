"""``manage.py tapis_rotate_keys``: encrypt every stored secret with the newest key."""
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.crypto import get_random_string

from app_extensions.shared.crypto import encrypted_fields, key_texts, rotate_model


class Command(BaseCommand):
    """Put a new key first in ``WO_ENCRYPTION_KEYS``, restart, run this, and then drop the old key."""

    help = (
        "Encrypts all stored secrets again with the newest key (the first of WO_ENCRYPTION_KEYS, else SECRET_KEY). "
        "To change keys: put the new one in front, restart, run this command, remove the old one, restart."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """``--generate`` prints a key and does nothing else."""
        parser.add_argument("--generate", action="store_true", help="print a new random key, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate every model that has encrypted fields. :raises CommandError: no configured key can decrypt some of the values"""
        if options["generate"]:
            self.stdout.write(get_random_string(64))
            return
        self.stdout.write(f"{len(key_texts())} key(s) configured, SECRET_KEY among them; encrypting with the first.")
        unreadable = 0
        for model in apps.get_models():
            if encrypted_fields(model):
                done = rotate_model(model)
                unreadable += done.unreadable
                self.stdout.write(f"{model._meta.label}: {done.rotated} encrypted again, {done.unreadable} unreadable")
        if unreadable:
            raise CommandError(
                f"{unreadable} value(s) could not be decrypted with any configured key and were left alone. Add the "
                "key they were encrypted with to WO_ENCRYPTION_KEYS, or enter the secrets (log in) again."
            )
