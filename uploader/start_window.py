"""Where PyInstaller's program begins."""
import sys

from openscan_uploader.window import main

sys.exit(main())
