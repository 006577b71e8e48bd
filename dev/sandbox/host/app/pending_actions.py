"""Numbers of the actions that a worker performs on a task at its next step."""

CANCEL = 1
REMOVE = 2
RESTART = 3
RESIZE = 4
IMPORT = 5
COMPACT = 6
