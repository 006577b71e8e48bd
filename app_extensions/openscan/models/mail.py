"""Mail of the OpenScan app that waits to be sent."""
from app_extensions.shared.mail import AbstractOutgoingMail


class OutgoingMail(AbstractOutgoingMail):
    """One message; its content is encrypted and wiped once it is delivered or given up."""

    class Meta(AbstractOutgoingMail.Meta):
        abstract = False
