"""A stand-in for WebODM in Docker, for `./webodm.sh test --docker`: its checkout and its image, with the sandbox host inside.

It is not WebODM. It has WebODM's directory layout, container names, compose files, flags and order of start-up steps, so that what we lay
over them is really built, started, killed and updated. No image of WebODM's is needed, and none of its code is copied.
"""
