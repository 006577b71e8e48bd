"""Projects from flights: their names, tags and tasks; no doubles, even when two come at once; nobody else's touched."""
import threading

from tests.support.flights import Flyer


def create(flyer, flights, status=200):
    return flyer.post("tapis-storage/create-projects/", {"flights": flights}, status)


def info(flyer, name, **more):
    return {"flight_name": name, "system_id": flyer.system, "images_path": f"{name}/code/images", "image_count": 1, **more}


def test_a_project_is_made_exactly_as_documented(flyer):
    from app_extensions.host import projects, tasks

    flyer.flight("Flight001", 3)
    results = flyer.create()
    assert list(results) == ["systems_scanned", "flights_discovered", "projects_created", "errors", "created_projects"]
    made = results["created_projects"][0]
    name = f"Flight001 ({flyer.system})"
    assert made == {"project_id": made["project_id"], "project_name": name, "flight_name": "Flight001",
                    "system_id": flyer.system, "image_count": 3}
    project = projects.get_project(made["project_id"])
    assert project.name == name and project.owner == flyer.user
    assert project.tags == f"tapis flight {flyer.system} Flight001"
    assert "Flight001" in project.description and flyer.system in project.description and "3 images" in project.description
    task = flyer.task("Flight001")
    assert list(project.task_set.all()) == [task]
    assert task.import_url == f"tapis://{flyer.system}/Flight001/code/images"
    assert (task.partial, task.auto_processing_node, task.processing_node, task.pending_action) == (False, False, None, None)
    assert tasks.task_state(task).status == "waiting" and task.images_count == 0
    listed = flyer.get("tapis-storage/flight-projects/")
    assert listed["count"] == 1
    assert listed["projects"][0] == {
        "id": project.pk, "name": name, "description": project.description,
        "created_at": listed["projects"][0]["created_at"], "tags": ["tapis", "flight", flyer.system, "Flight001"],
        "task_count": 1}


def test_details_tell_of_the_flight_and_its_task(flyer):
    flyer.flight("Flight001", 3)
    flyer.import_all()
    plain = flyer.get("tapis-storage/flight-projects/")["projects"][0]
    told = flyer.get("tapis-storage/flight-projects/?details=1")["projects"][0]
    task = flyer.task("Flight001")
    assert {key: told[key] for key in plain} == plain
    assert (told["flight_name"], told["system_id"], told["synced_at"]) == ("Flight001", flyer.system, None)
    assert told["task"] == {
        "id": str(task.pk), "state": "waiting", "progress": 0.0, "images_count": 0, "error": "", "hint": "", "pending_action": None,
        "url": told["task"]["url"], "map_url": "", "model_url": ""}
    assert told["task"]["url"].endswith(f"project_task_open={plain['id']}&project_task_expanded={task.pk}")
    task.status, task.available_assets = 40, ["orthophoto.tif", "georeferenced_model.laz"]
    task.save()
    told = flyer.get("tapis-storage/flight-projects/?details=1")["projects"][0]["task"]
    assert (told["state"], told["progress"]) == ("completed", 1.0)
    assert told["map_url"] == f"/map/project/{plain['id']}/task/{task.pk}/"
    assert told["model_url"] == f"/3d/project/{plain['id']}/task/{task.pk}/"
    task.delete()
    assert flyer.get("tapis-storage/flight-projects/?details=1")["projects"][0]["task"] is None


def test_many_projects_take_hardly_more_queries_than_few(flyer):
    """The page asks for them every few seconds. WebODM's Task looks its project up as it is made: one query each."""
    from app.models import Task
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from nodeodm import status_codes

    from app_extensions.tapis.catalog.projects import flight_projects
    from app_extensions.tapis.models import Flight

    def queries():
        tasks = Flight.objects.filter(user=flyer.user).values("task_id")
        Task.objects.filter(pk__in=tasks).update(status=status_codes.QUEUED)  # without a node: why is looked up as well
        with CaptureQueriesContext(connection) as seen:
            assert all(item["task"]["state"] == "queued" for item in flight_projects(flyer.user, details=True)[0])
        return len(seen)

    flyer.flight("One", 1)
    flyer.import_all()
    few = queries()
    for number in range(6):
        flyer.flight(f"More{number}", 1)
    flyer.import_all()
    assert queries() <= few + 6


def test_waiting_tasks_are_neither_started_nor_deleted(flyer):
    from datetime import timedelta

    from app.models import Task
    from django.utils import timezone
    from worker.tasks import cleanup_projects, cleanup_tasks, get_pending_tasks

    flyer.flight("Waits", 1)
    flyer.import_all()
    task = flyer.task("Waits")
    Task.objects.filter(pk=task.pk).update(created_at=timezone.now() - timedelta(days=400))
    assert not get_pending_tasks().filter(pk=task.pk).exists()
    cleanup_tasks()
    cleanup_projects()
    assert Task.objects.filter(pk=task.pk).exists()


def test_a_second_discovery_makes_nothing_twice(flyer):
    flyer.flight("Once", 1)
    assert flyer.create()["projects_created"] == 1
    again = flyer.create()
    assert again["projects_created"] == 0 and again["flights_discovered"] == 1 and again["created_projects"] == []
    assert create(flyer, [info(flyer, "Once")])["results"]["projects_created"] == 0


def test_two_discoveries_at_once_make_one_project(flyer):
    from app.models import Project

    for number in range(6):
        flyer.flight(f"Race{number}", 1)
    answers = []
    def create_all():
        answers.append(flyer.call("POST", "tapis-storage/create-projects/", {"auto_discover": True}))

    threads = [threading.Thread(target=create_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One request of the site waits for the job that all three share; the others are told where the rest will be.
    assert sorted(answer.status_code for answer in answers) == [200, 202, 202]
    whole = next(answer for answer in answers if answer.status_code == 200).json()["results"]
    job_ids = {answer.json()["job_id"] for answer in answers if answer.status_code == 202}
    assert len(job_ids) == 1 and flyer.wait(job_ids.pop())["state"] == "completed"
    assert whole["projects_created"] == 6 and Project.objects.filter(owner=flyer.user).count() == 6


def test_the_database_itself_keeps_duplicates_out(flyer):
    import pytest
    from django.db import IntegrityError

    flyer.flight("Unique", 1)
    flyer.import_all()
    row = flyer.row("Unique")
    row.pk = None
    with pytest.raises(IntegrityError):
        row.save(force_insert=True)


def test_flights_of_the_same_name_on_two_systems_are_two_projects(flyer, tapis):
    other = tapis.system("ptdatax.project.second-" + flyer.name, owner=flyer.name)
    flyer.flight("Same", 1)
    tapis.flight(other, "Same", 2)
    made = flyer.create()["created_projects"]
    assert sorted((item["system_id"], item["image_count"]) for item in made) == sorted([(flyer.system, 1), (other, 2)])


def test_names_that_are_too_long_or_hold_commas(flyer):
    from app_extensions.host import projects

    long_name, comma = "L" * 250, "North, South,,East "
    twin = "L" * 249 + "M"
    for name in (long_name, twin, comma):
        flyer.flight(name, 1)
    made = {item["flight_name"]: item for item in flyer.create()["created_projects"]}
    names = [made[name]["project_name"] for name in (long_name, twin)]
    assert all(len(name) <= 255 and name.endswith(f"({flyer.system})") for name in names) and names[0] != names[1]
    project = projects.get_project(made[comma]["project_id"])
    tags = projects.project_tags(project)
    assert len(tags) == 4 and tags[:3] == ["tapis", "flight", flyer.system] and "North" in tags[3] and "East" in tags[3]
    assert made[comma]["project_name"] == f"{comma} ({flyer.system})"
    assert flyer.task(long_name).name == long_name


def test_a_system_id_as_long_as_the_name_column(flyer, tapis):
    system = tapis.system("ptdatax.project." + flyer.name + "x" * 200, owner=flyer.name)
    tapis.flight(system, "Flight", 1)
    made = flyer.create()["created_projects"]
    assert len(made) == 1 and len(made[0]["project_name"]) <= 255 and made[0]["project_name"].startswith("Flight")


def test_odd_names_are_percent_encoded_in_the_import_url(flyer):
    flyer.flight("a#1? 50%", 1)
    flyer.import_all()
    assert flyer.task("a#1? 50%").import_url == f"tapis://{flyer.system}/a%231%3F%2050%25/code/images"


def test_a_project_the_user_deleted_comes_back_on_an_explicit_wish_only(flyer):
    from app_extensions.host import projects

    flyer.flight("Gone", 1)
    first = flyer.create()["created_projects"][0]["project_id"]
    project = projects.get_project(first)
    project.task_set.all().delete()
    project.delete()
    assert flyer.create()["projects_created"] == 0
    assert flyer.get("tapis-storage/flight-projects/")["count"] == 0
    made = create(flyer, [info(flyer, "Gone")])["results"]["created_projects"]
    assert len(made) == 1 and made[0]["project_id"] != first
    assert flyer.get("tapis-storage/flight-projects/")["count"] == 1


def test_no_more_projects_than_the_preference_allows(flyer):
    for number in range(5):
        flyer.flight(f"F{number}", 1)
    flyer.post("tapis-preferences/", {"max_projects_per_discovery": 2})
    results = flyer.create()
    assert results["projects_created"] == 2 and results["flights_discovered"] == 5
    assert "3 flights are left" in results["errors"][0]
    assert flyer.create()["projects_created"] == 2
    assert flyer.create()["projects_created"] == 1


def test_other_users_projects_are_untouched(flyer, stack, tapis, unique):
    from app_extensions.host import projects

    other = Flyer(stack.address(), tapis, "o" + unique)
    tapis.system(flyer.system, owner=flyer.name, shared_with=[other.name])
    flyer.flight("Shared", 2)
    theirs = projects.create_project(other.user, f"Shared ({flyer.system})", "mine", ["tapis"])
    mine = flyer.create()["created_projects"][0]["project_id"]
    copy = other.create()["created_projects"][0]["project_id"]
    assert len({mine, copy, theirs.pk}) == 3
    theirs.refresh_from_db()
    assert (theirs.description, theirs.tags, theirs.task_set.count()) == ("mine", "tapis", 0)
    assert {item["id"] for item in flyer.get("tapis-storage/flight-projects/")["projects"]} == {mine}
    assert not projects.user_can(flyer.user, "view", projects.get_project(copy))
    assert flyer.call("POST", "tapis-storage/sync-project-images/", {"project_id": copy}).status_code == 404


def test_descriptions_that_a_client_sends_are_not_believed(flyer, stack, tapis, unique):
    other = Flyer(stack.address(), tapis, "o" + unique)
    other.flight("Secret", 3)
    flyer.flight("Mine", 2)
    answer = create(flyer, [info(flyer, "Secret", system_id=other.system)], 403)
    assert answer["success"] is False and answer["error"] == "System not accessible"
    answer = create(flyer, [info(flyer, "Invented")], 404)
    assert answer["success"] is False
    for change in ({"images_path": "Mine/../../etc/code/images"}, {"images_path": "/etc"}, {"flight_name": "../Mine"},
                   {"flight_name": ""}, {"flight_name": 7}, {"system_id": "ptdatax.projectX"}, {"system_id": None},
                   {"system_id": "ptdatax.project.a/../b"}):
        answer = create(flyer, [{**info(flyer, "Mine"), **change}], 400)
        assert "flights[0]." + next(iter(change)) in answer["detail"], answer
    results = create(flyer, [info(flyer, "Mine", image_count=999999), info(flyer, "Invented")])["results"]
    assert [item["image_count"] for item in results["created_projects"]] == [2]
    assert results["errors"][0].startswith(f"{flyer.system}: Invented")
