"""The systems and flights that the stand-in starts with.

``alice`` and ``bob`` see real flights only. ``tester`` sees every oddity that the contract names.
"""
import time
from pathlib import Path

from . import USERS
from .tree import Link
from .world import PATTERN, System, World

#: 2024-05-01, the day on which the systems were made.
LONG_AGO = 1714564800.0
IMAGES = (".jpg", ".jpeg")
ODD_NAMES = (
    "a.jpg", "A.JPG", "b.jpeg", "c.JpEg", "hash#1.jpg", "question?.jpg", "a#1?.jpg", "percent%.jpg", "literal%20space.jpg",
    "with space.jpg", "ünïcode ☃.jpg", "same.jpg", "SAME.jpg", "plus+and&amp.jpg", "semi;colon=.jpg", "'quote\".jpg",
    "back\\slash.jpg", "..jpg", "-dash.jpg",
)


def photos_in(folder: Path) -> list[Path]:
    """The JPEG files of a directory, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in IMAGES)


def add_flight(system: System, name: str, photos: list[Path]) -> None:
    """Lay photos as ``<name>/code/images/*`` on a system: a flight that was copied there long ago."""
    folder = system.tree.make_directory(f"{name}/code/images")
    for photo in photos:
        system.tree.put_file(f"{name}/code/images/{photo.name}", photo, modified=LONG_AGO)
    folder.modified = LONG_AGO


def generated_flight(
    system: System, name: str, count: int, photo: Path, *, size_bytes: int = 0, modified: float = 0, first: int = 0,
) -> None:
    """A flight of many images, all of them the same real photo (padded to ``size_bytes``)."""
    folder = system.tree.make_directory(f"{name}/code/images")
    modified = modified or time.time()
    for number in range(first, first + count):
        system.tree.put_file(
            f"{name}/code/images/IMG_{number:05d}.JPG", photo, size=size_bytes or None, modified=modified
        )
    folder.modified = modified


def camel(name: str) -> str:
    """``brighton_beach`` → ``BrightonBeach``."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))


def lay_out(world: World, flights: Path) -> None:
    """Fill the world from a directory.

    Directories called ``ptdatax.project.…`` are systems as they stand. Any other directory of JPEG files becomes one flight of
    ``ptdatax.project.PTDATAX-284``, as do JPEG files that lie in the directory itself.
    """
    for username in USERS:
        world.add_user(username)
    world.add_user("robot", "service")
    main = world.add_system(System(
        PATTERN + "PTDATAX-284", owner="alice", shared_with=["bob", "tester"],
        description="Aerial surveys of the coast", title="Coastal surveys",
    ))
    own = photos_in(flights)
    if own:
        add_flight(main, camel(flights.name), own)
    for folder in sorted(path for path in flights.iterdir() if path.is_dir()):
        if folder.name.startswith(PATTERN):
            system = world.add_system(System(folder.name, owner="alice", shared_with=["bob", "tester"]))
            system.tree.add_real("", folder)
        elif photos_in(folder):
            add_flight(main, camel(folder.name), photos_in(folder))
    world.photos = own or [photo for folder in sorted(flights.rglob("*")) if folder.is_dir() for photo in photos_in(folder)]
    if not world.photos:
        raise SystemExit(f"no JPEG files below {flights}")
    lay_out_oddities(world)


def lay_out_oddities(world: World) -> None:
    """The systems of ``tester``: every line of the contract's list that a test can look at."""
    photo = min(world.photos, key=lambda path: path.stat().st_size)
    odd = world.add_system(System(PATTERN + "ODD-1", owner="tester", title="Odd names and shapes"))
    for count in (1000, 1001, 2500):
        generated_flight(odd, f"Flight{count}", count, photo)
    tree = odd.tree
    for name in ODD_NAMES:
        tree.put_file(f"OddNames/code/images/{name}", photo)
    tree.put_file("NullMime/code/images/one.jpg", photo, mime=None)
    tree.put_file("AppleDouble/code/images/IMG_1.JPG", photo)
    tree.put_file("AppleDouble/code/images/._IMG_1.JPG", photo, mime=None)
    tree.put_file("OnlyAppleDouble/code/images/._IMG_1.JPG", photo, mime=None)
    tree.put_file("Links/code/images/real.jpg", photo)
    tree.put("Links/code/images/link.jpg", Link("real.jpg"))
    tree.put("Links/code/images/broken.jpg", Link("nowhere.jpg"))
    tree.put("Links/code/images/loop.jpg", Link("loop.jpg"))
    tree.put("LinkedFlight", Link("NullMime"))
    tree.make_directory("Empty/code/images")
    tree.put_file("NotImages/code/images/readme.txt", photo, mime="text/plain")
    tree.put_file("FileForImages/code/images", photo)
    tree.put_file("FileForCode/code", photo)
    tree.make_directory("NoImages/code")
    tree.make_directory("NoCode")
    tree.put_file("a file at the root.jpg", photo)
    tree.put_file("Flight #7 100%/code/images/a b.jpg", photo)
    tree.make_directory("SubdirectoryOnly/code/images/deeper.jpg")
    tree.put_file("SubdirectoryOnly/code/images/deeper.jpg/inside.jpg", photo)

    lower = world.add_system(System(PATTERN + "lower-2", owner="someone", shared_with=["tester"]))
    generated_flight(lower, "Plain", 3, photo)
    for name, changes in {
        PATTERN + "DISABLED-3": {"enabled": False},
        PATTERN + "NOCRED-4": {"has_credentials": False},
        PATTERN + "BUCKET-5": {"system_type": "S3"},
        PATTERN.rstrip(".") + "X": {},
        PATTERN.rstrip("."): {},
        "other." + PATTERN + "6": {},
        PATTERN.upper() + "SHOUT-7": {},
    }.items():
        system = world.add_system(System(name, owner="someone", shared_with=["tester"], **changes))
        generated_flight(system, "Decoy", 2, photo)
