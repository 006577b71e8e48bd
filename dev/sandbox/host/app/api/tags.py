"""Tags are one text in the database and a list in the API, separated by blanks there."""
from rest_framework import serializers


class TagsField(serializers.JSONField):
    """A list of words in, one text in the database."""

    def to_representation(self, value):
        """The list."""
        return [tag for tag in value.split(" ") if tag]

    def to_internal_value(self, data):
        """The text."""
        return " ".join(tag.strip() for tag in data)
