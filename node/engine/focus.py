"""Merges the frames of focus stacks before any other step reads the photos."""
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from app_extensions.shared import focus_stacks


def merge_stacks(files: Sequence[Path], directory: Path, log: Callable[[str], None],
                 on_done: Callable[[int, int], None] = lambda done, total: None) -> tuple[list[Path], dict[str, int]]:
    """Replace the frames of each focus stack with one photo that is sharp everywhere.

    Frames that do not fit together stay as they are, and the log says so.

    :param directory: where merged photos are written
    :param on_done: called with the number of merged stacks and the total
    :return: the photos to use, and the number of frames of each merged photo by its name
    """
    names = [path.name for path in files]
    stacks = focus_stacks.stacks_by_name(names) or focus_stacks.stacks_by_content(names, lambda index: files[index].read_bytes())
    taken = {name.lower() for name in names}
    used, replaced, frames, merger, made = [], set(), {}, focus_stacks.Merger(), []
    for number, stack in enumerate(stacks, 1):
        target = directory / f"{stack.name}.jpg"
        own = {names[index].lower() for index in stack.frames}
        if target.name.lower() in taken - own:
            log(f"{target.name} is already there beside its focus stack: it and the frames are used as they are")
            continue
        try:
            made.append(merger.merge([files[index] for index in stack.frames], target))
        except focus_stacks.NotMerged as reason:
            log(f"The focus stack {stack.name} is not merged: {reason}")
            continue
        frames[target.name] = len(stack.frames)
        used.append(target)
        replaced.update(stack.frames)
        on_done(number, len(stacks))
    for sentence in focus_stacks.report(made):
        log(sentence)
    used += [path for index, path in enumerate(files) if index not in replaced]
    return sorted(used, key=lambda path: path.name), frames
