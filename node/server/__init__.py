"""A processing node that speaks NodeODM's HTTP API over any engine that speaks the command line of ``python -m node.engine``.

``python -m node.server --data DIR --port P`` starts it; a WebODM registers it like any NodeODM.
"""

# The NodeODM whose API, field names and answers this node follows. WebODM and pyodm choose what they call by it
# (1.4.0 chunked uploads, 1.5.1 output within /info).
API_VERSION = "2.2.4"
