"""A processing node that speaks NodeODM's HTTP API over any engine that speaks the command line of ``python -m node.engine``.

``python -m node.server --data DIR --port P`` starts it; a WebODM registers it like any NodeODM.
"""

# The version of NodeODM that this node follows in its API, field names and answers. WebODM and pyodm use it to decide what they may call
# (chunked uploads from 1.4.0, output within /info from 1.5.1).
API_VERSION = "2.2.4"
