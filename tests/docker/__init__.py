"""WebODM in Docker on a real Docker engine: `./webodm.sh test --docker`."""
