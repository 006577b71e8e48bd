"""What the OpenScan Cloud promises in figures: `./webodm.sh bench openscan [part|unpack|…]`."""
import argparse
import contextlib
import signal
import sys
import time

from dev.benchmarks import abuse, focus, part_ingest, project_info, result_download, scale, unpack, upload_page
from dev.benchmarks.ground import sandbox, scratch
from dev.benchmarks.table import Row, print_table

TOPICS = ("part", "unpack", "focus", "result", "info", "abuse", "scale", "upload-page")


def main() -> int:
    """The exit code: 0 when no bound was missed."""
    parser = argparse.ArgumentParser(prog="webodm.sh bench openscan", description=__doc__)
    parser.add_argument("topics", nargs="*", choices=[*TOPICS, []], help="which (default: all)")
    parser.add_argument("--photos", type=int, default=upload_page.PHOTOS, help="how many upload-page sends (default: %(default)s)")
    options = parser.parse_args()
    topics = options.topics or TOPICS
    # So that a benchmark that is ended leaves no servers and no gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows: list[Row] = []
    with contextlib.ExitStack() as closing:
        directory = closing.enter_context(scratch())
        # Unpacking and merging need no servers.
        stack = closing.enter_context(sandbox()) if set(topics) - {"unpack", "focus"} else None
        for topic in topics:
            started = time.monotonic()
            if topic == "part":
                rows += part_ingest.measure(stack, directory)
            elif topic == "unpack":
                rows += unpack.measure(directory)
            elif topic == "focus":
                rows += focus.measure(directory)
            elif topic == "result":
                rows += result_download.measure(stack, directory)
            elif topic == "info":
                rows += project_info.measure(stack)
            elif topic == "abuse":
                rows += abuse.measure(stack)
            elif topic == "scale":
                rows += scale.measure(stack)
            else:
                rows += upload_page.measure(stack, directory, options.photos)
            print(f"{topic}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0 if print_table(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
