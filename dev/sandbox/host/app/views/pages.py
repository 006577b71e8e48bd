"""The pages: first access, dashboard, a model, a node, about."""
from django import forms
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from guardian.shortcuts import get_objects_for_user
from nodeodm.models import ProcessingNode
from webodm import settings

from app.models import Project, Task


def index(request):
    """To the dashboard, the login, or, while there is no administrator, to the page that makes one."""
    if not User.objects.filter(is_superuser=True).exists():
        return redirect("welcome")
    return redirect(settings.LOGIN_REDIRECT_URL if request.user.is_authenticated else settings.LOGIN_URL)


class FirstUserForm(forms.ModelForm):
    """Name and password of the first administrator."""

    class Meta:
        model = User
        fields = ("username", "password")
        widgets = {"password": forms.PasswordInput()}


def welcome(request):
    """Makes the first administrator, once."""
    if User.objects.filter(is_superuser=True).exists():
        return redirect("index")
    form = FirstUserForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = User.objects.create_superuser(form.cleaned_data["username"], "", form.cleaned_data["password"])
        login(request, user, "django.contrib.auth.backends.ModelBackend")
        return redirect("dashboard")
    return render(request, "app/welcome.html", {"title": "Welcome", "form": form})


@login_required
def dashboard(request):
    """The user's projects with their tasks; the page keeps itself up to date through the API."""
    may_add = request.user.has_perm("app.add_project")
    if settings.DASHBOARD_ONBOARDING and may_add and not Project.objects.filter(owner=request.user).exists():
        Project.objects.create(owner=request.user, name="First Project")
    projects = get_objects_for_user(request.user, "view_project", Project, accept_global_perms=False)
    return render(
        request,
        "app/dashboard.html",
        {
            "title": "Dashboard",
            "projects": projects.filter(deleting=False).order_by("-created_at").prefetch_related("task_set"),
            "no_processingnodes": not ProcessingNode.objects.exists(),
        },
    )


def _task_or_404(request, project_pk, task_pk) -> Task:
    task = get_object_or_404(Task.objects.select_related("project"), pk=task_pk, project=project_pk)
    if not (task.public or task.project.public or request.user.has_perm("app.view_project", task.project)):
        raise Http404()
    return task


@login_required
def model_display(request, project_pk=None, task_pk=None):
    """A task's results to download; a real WebODM shows the model here."""
    return render(
        request, "app/model.html", {"title": "3D model", "task": _task_or_404(request, project_pk, task_pk)}
    )


@login_required
def processing_node(request, processing_node_id):
    """A node's state and options."""
    node = get_object_or_404(ProcessingNode, pk=processing_node_id)
    if not request.user.has_perm("view_processingnode", node):
        raise Http404()
    return render(request, "app/processing_node.html", {"title": "Processing Node", "node": node})


@login_required
def about(request):
    """What this is."""
    return render(request, "app/about.html", {"title": "About", "version": settings.VERSION})
