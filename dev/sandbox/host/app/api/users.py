"""/api/users: names and addresses for whoever shares a project."""
from django.contrib.auth.models import User
from rest_framework import exceptions, permissions
from rest_framework.response import Response
from rest_framework.views import APIView


class UsersList(APIView):
    """``?search=`` matches the start of the name or of the address."""

    permission_classes = (permissions.IsAuthenticated,)

    def get(self, request):
        """Names and addresses."""
        users = User.objects.all()
        search = request.query_params.get("search")
        if search is not None:
            users = users.filter(username__istartswith=search) | users.filter(email__istartswith=search)
        limit = request.query_params.get("limit")
        if limit is not None:
            try:
                users = users[: abs(int(limit))]
            except ValueError as error:
                raise exceptions.ValidationError("Invalid query parameters") from error
        return Response([{"username": user.username, "email": user.email} for user in users])
