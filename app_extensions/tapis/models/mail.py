"""Mails of the Tapis app that wait to be sent."""
from app_extensions.shared.mail import AbstractOutgoingMail


class TapisMail(AbstractOutgoingMail):
    """One mail to one user about discoveries and syncs."""

    class Meta(AbstractOutgoingMail.Meta):
        abstract = False
        app_label = "tapis"
        verbose_name = "Tapis mail"

    def __str__(self) -> str:
        return super().__str__()
