"""Values that plugins keep in the database, a user's or everybody's."""
from django.core.exceptions import ValidationError

from app.models import PluginDatum

EMPTY = object()


class InvalidDataStoreValue(Exception):
    """The value does not fit the column."""


class DataStore:
    """Typed values under ``<namespace>::<key>``."""

    def __init__(self, namespace: str, user=None):
        self.namespace = namespace
        self.user = user

    def db_key(self, key: str) -> str:
        """The key in the table."""
        return f"{self.namespace}::{key}"

    def get_datum(self, key: str):
        """The row, or None."""
        return PluginDatum.objects.filter(key=self.db_key(key), user=self.user).first()

    def set_value(self, type, key: str, value):
        """Writes a value of a type (``string``, ``int``, …). Raises InvalidDataStoreValue."""
        try:
            return PluginDatum.objects.update_or_create(
                key=self.db_key(key), user=self.user, defaults={type + "_value": value}
            )
        except ValidationError as error:
            raise InvalidDataStoreValue(error) from error

    def get_value(self, type, key: str, default=None):
        """Reads a value of a type, or the default."""
        datum = self.get_datum(key)
        return default if datum is None else getattr(datum, type + "_value")

    def get_string(self, key, default=""):
        """Text."""
        return self.get_value("string", key, default)

    def set_string(self, key, value):
        """Text."""
        return self.set_value("string", key, value)

    def get_int(self, key, default=0):
        """A whole number."""
        return self.get_value("int", key, default)

    def set_int(self, key, value):
        """A whole number."""
        return self.set_value("int", key, value)

    def get_float(self, key, default=0.0):
        """A number."""
        return self.get_value("float", key, default)

    def set_float(self, key, value):
        """A number."""
        return self.set_value("float", key, value)

    def get_bool(self, key, default=False):
        """True or false."""
        return self.get_value("bool", key, default)

    def set_bool(self, key, value):
        """True or false."""
        return self.set_value("bool", key, value)

    def get_json(self, key, default=EMPTY):
        """Anything JSON has; a new ``{}`` unless another default is given."""
        return self.get_value("json", key, {} if default is EMPTY else default)

    def set_json(self, key, value):
        """Anything JSON has."""
        return self.set_value("json", key, value)

    def has_key(self, key) -> bool:
        """Whether there is such a value."""
        return self.get_datum(key) is not None

    def del_key(self, key) -> bool:
        """Deletes a value; False when there was none."""
        datum = self.get_datum(key)
        if datum is None:
            return False
        datum.delete()
        return True


class UserDataStore(DataStore):
    """A user's values."""


class GlobalDataStore(DataStore):
    """Everybody's values."""
