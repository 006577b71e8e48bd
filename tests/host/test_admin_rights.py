"""Who may do what in the administration: every action asks for a permission, every POST for a CSRF token."""
import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

ACTIONS = [(model, action) for model, page in admin.site._registry.items() if model._meta.app_label in ("openscan", "tapis")
           for action in page.actions]


def url_of(model, page: str = "changelist", *arguments) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def helper(name: str, **codes: str) -> User:
    """A member of the staff with these permissions: code to application."""
    user = User.objects.create_user(name, password="Pa55-word!", is_staff=True)
    for code, label in codes.items():
        user.user_permissions.add(Permission.objects.get(codename=code, content_type__app_label=label))
    return user


def test_there_are_actions_to_look_at():
    assert {action for _, action in ACTIONS} >= {"retry", "reset", "approve", "refuse", "revoke", "switch_off", "switch_on"}


@pytest.mark.parametrize(("model", "action"), ACTIONS)
def test_looking_is_not_doing(db, unique, model, action):
    """Django offers an action to whoever may see the list, unless the action names a permission."""
    page = admin.site._registry[model]
    assert getattr(getattr(page, action), "allowed_permissions", None), f"{model.__name__}.{action} asks for no permission"
    client = Client()
    client.force_login(helper(unique, **{f"view_{model._meta.model_name}": model._meta.app_label}))
    answer = client.get(url_of(model))
    assert answer.status_code == 200 and f'value="{action}"' not in answer.content.decode()


@pytest.mark.parametrize("model", sorted({model for model, _ in ACTIONS}, key=str))
def test_a_post_without_a_csrf_token_does_nothing(db, model):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("boss", "", "x"))
    assert client.get(url_of(model)).status_code == 200
    actions = [action for other, action in ACTIONS if other is model]
    for url in (url_of(model), url_of(model, "add")):
        assert client.post(url, {"action": actions[0], "_selected_action": ["1"]}).status_code == 403


def test_a_helper_cannot_make_himself_an_administrator_by_a_tapis_login(db, unique):
    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client

    boss = User.objects.create_superuser(f"boss{unique}", "", "Pa55-word!")
    plain = User.objects.create_user(f"plain{unique}")
    issuer = TapisOAuth2Client.objects.create(name="n", client_id=unique, client_secret="s").issuer
    client = Client()
    client.force_login(helper(unique, add_tapisidentity="tapis", change_tapisidentity="tapis", view_user="auth"))
    form = {"issuer": issuer, "subject": f"{unique}@portals"}
    assert client.post(url_of(TapisIdentity, "add"), {**form, "user": boss.pk}).status_code == 403
    assert client.post(url_of(TapisIdentity, "add"), {**form, "user": plain.pk}).status_code == 302
    mine = TapisIdentity.objects.get(subject=f"{unique}@portals")
    assert client.post(url_of(TapisIdentity, "change", mine.pk), {**form, "user": boss.pk}).status_code == 403
    assert TapisIdentity.objects.get(pk=mine.pk).user == plain
