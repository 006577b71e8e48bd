"""Processing nodes, as WebODM's application of the same name keeps them."""

default_app_config = "nodeodm.apps.NodeodmConfig"
