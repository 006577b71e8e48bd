"""JWT in the query, for links that a browser follows without headers."""
from rest_framework_jwt.authentication import BaseJSONWebTokenAuthentication


class JSONWebTokenAuthenticationQS(BaseJSONWebTokenAuthentication):
    """``?jwt=TOKEN``."""

    def get_jwt_value(self, request):
        """The token, or None."""
        return request.query_params.get("jwt")
