"""What an import chooses: whether its flights are processed, with which preset, and on which node."""
import pytest

from tests.support.waiting import until


def import_with(flyer, name, processing, status=200, **more):
    flyer.flight(name, 2)
    body = {"flights": [{"flight_name": name, "system_id": flyer.system}], "sync": True, "processing": processing, **more}
    return flyer.post("tapis-storage/create-projects/", body, status)


def ended(flyer, name):
    """The flight's sync once it has ended."""
    from app_extensions.tapis.models import TapisJob

    mine = TapisJob.objects.filter(flight__user=flyer.user, flight__name=name, kind="sync")
    until(lambda: mine.filter(state="completed").exists(), says=lambda: list(mine.values("state", "error")))
    return mine.get()


def node_of(user):
    from app_extensions.host import nodes

    return nodes.nodes_for(user)[0].id


def test_a_flight_is_processed_as_its_import_chose(flyer):
    node = node_of(flyer.user)
    import_with(flyer, "Chosen", {"process": True, "preset": "Fast Orthophoto", "node": node})
    assert flyer.row("Chosen").processing == {"process": True, "preset": "Fast Orthophoto", "node": node}
    ended(flyer, "Chosen")
    task = flyer.task("Chosen")
    assert not task.partial and task.auto_processing_node is False and task.processing_node_id == node
    assert {"name": "fast-orthophoto", "value": True} in task.options


def test_the_choice_counts_more_than_the_preferences(flyer):
    flyer.post("tapis-preferences/", {"process_after_sync": True, "processing_preset": "Fast Orthophoto"})
    import_with(flyer, "NotNow", {"process": False})
    ended(flyer, "NotNow")
    assert flyer.task("NotNow").partial is False and flyer.task("NotNow").status is None
    assert not flyer.task("NotNow").auto_processing_node and flyer.task("NotNow").processing_node_id is None
    import_with(flyer, "Defaults", {"preset": ""})
    ended(flyer, "Defaults")
    assert flyer.task("Defaults").auto_processing_node and flyer.task("Defaults").options == []


def test_what_was_chosen_and_is_gone_is_said(flyer):
    from app_extensions.tapis.models import Flight

    flyer.flight("Gone", 1)
    flyer.import_all()
    Flight.objects.filter(pk=flyer.row("Gone").pk).update(processing={"process": True, "preset": "No such preset", "node": 999_999})
    job = flyer.synced("Gone")
    assert "The preset No such preset no longer exists; processed with the defaults." in job["error"]
    assert "The chosen processing node is no longer available; WebODM chooses one." in job["error"]
    assert flyer.task("Gone").auto_processing_node


@pytest.mark.parametrize("processing, field", [
    ("yes", "processing"), ({"speed": "fast"}, "processing"), ({"process": "yes"}, "processing.process"),
    ({"preset": "No such preset"}, "processing.preset"), ({"node": 999_999}, "processing.node"), ({"node": True}, "processing.node"),
    ({"node": "1"}, "processing.node"),
])
def test_a_choice_that_cannot_be_is_400(flyer, processing, field):
    answer = import_with(flyer, "Wrong", processing, 400)
    assert answer["field"] == field


def test_a_node_that_the_user_may_not_use_is_refused(flyer):
    from django.contrib.auth.models import Group

    node = node_of(flyer.user)
    flyer.user.groups.remove(*Group.objects.all())
    assert import_with(flyer, "NotMine", {"node": node}, 400)["field"] == "processing.node"
