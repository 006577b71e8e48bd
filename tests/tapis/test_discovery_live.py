"""Discovery against the stand-in: what counts as a flight, how many calls it takes, what happens to what fails."""


def test_first(flyer, tapis):
    flyer.flight("Flight001", 3)
    systems = flyer.get("tapis-storage/systems/")
    assert systems["count"] == 1
    found = flyer.post("tapis-storage/discover-flights/")
    assert found["count"] == 1, found
    results = flyer.create()
    assert results["projects_created"] == 1
    job = flyer.synced("Flight001")
    assert job["state"] == "completed", job
    assert len(flyer.files("Flight001")) == 3
