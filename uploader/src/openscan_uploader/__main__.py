"""`python -m openscan_uploader` and the zipapp: the command `openscan-upload`."""
import sys

from openscan_uploader.command import main


def run() -> None:
    """Run the command and exit with its code; the zipapp starts here."""
    sys.exit(main())


if __name__ == "__main__":
    run()
