"""`python -m openscan_uploader` and the zipapp: the command `openscan-upload`."""
import sys

from openscan_uploader.command import main

if __name__ == "__main__":
    sys.exit(main())
