"""Template tags with what enabled plugins add to every page."""
from django import template
from django.utils.html import format_html_join

from app.plugins import get_active_plugins

register = template.Library()


@register.simple_tag()
def get_plugins_js_includes():
    """Script elements."""
    urls = ((url,) for plugin in get_active_plugins() for url in plugin.get_include_js_urls())
    return format_html_join("\n", "<script src='{}'></script>", urls)


@register.simple_tag()
def get_plugins_css_includes():
    """Style sheet links."""
    urls = ((url,) for plugin in get_active_plugins() for url in plugin.get_include_css_urls())
    return format_html_join("\n", "<link href='{}' rel='stylesheet' type='text/css'>", urls)


@register.simple_tag()
def get_plugins_main_menus():
    """Entries of the side menu."""
    return [menu for plugin in get_active_plugins() for menu in plugin.main_menu()]


@register.simple_tag(takes_context=True)
def get_visible_processing_nodes(context):
    """Nodes that the user may see."""
    from guardian.shortcuts import get_objects_for_user
    from nodeodm.models import ProcessingNode

    user = context["request"].user
    return get_objects_for_user(user, "view_processingnode", ProcessingNode, accept_global_perms=False).order_by("id")
