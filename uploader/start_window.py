"""The start of the program that PyInstaller builds."""
import sys

from openscan_uploader.window import main

sys.exit(main())
