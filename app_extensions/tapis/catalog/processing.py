"""How to process a flight: as chosen at its import, else by the user's preferences."""
from typing import Any, NamedTuple, Optional

from app_extensions.host import nodes as host_nodes
from app_extensions.host import presets as host_presets
from app_extensions.tapis.models import Flight
from app_extensions.tapis.preferences import check_preset, preferences_of
from app_extensions.tapis.problems import BadInput


class Processing(NamedTuple):
    """How to process a flight.

    wanted: process once the images are complete. options: None: the node's defaults. node_id: None: WebODM chooses. note: for the user.
    """

    wanted: bool
    options: "Optional[list[dict[str, Any]]]" = None
    node_id: Optional[int] = None
    note: str = ""


def check_processing(user: Any, value: Any) -> "dict[str, Any]":
    """Check a request's ``processing``. :returns: what to store with the flight :raises BadInput: a value cannot be used"""
    if value is None:
        return {}
    if not isinstance(value, dict) or set(value) - {"process", "preset", "node"}:
        raise BadInput("processing", "must be an object with any of process, preset and node")
    chosen: dict[str, Any] = {}
    if "process" in value:
        if not isinstance(value["process"], bool):
            raise BadInput("processing.process", "must be true or false")
        chosen["process"] = value["process"]
    if "preset" in value:
        chosen["preset"] = check_preset(user, "processing.preset", value["preset"])
    node = value.get("node")
    if node is not None:
        if isinstance(node, bool) or not isinstance(node, int) or node not in _nodes(user):
            raise BadInput("processing.node", "must be the id of a processing node that you may use")
        chosen["node"] = node
    return chosen


def processing_of(flight: Flight, user: Any, owner: Any) -> Processing:
    """How to process a flight once its images are complete.

    :param user: whose preferences apply if nothing was chosen at the import
    :param owner: of the project; WebODM uses this user's nodes
    """
    chosen, preferences = flight.processing, preferences_of(user)
    wanted = chosen.get("process", preferences.process_after_sync)
    preset, node_id = chosen.get("preset", preferences.processing_preset), chosen.get("node")
    options, notes = None, []
    if preset:
        try:
            options = host_presets.filter_options(host_presets.preset_options(preset, flight.user if "preset" in chosen else user), None)
        except LookupError:
            notes.append(f"The preset {preset} no longer exists; processed with the defaults.")
    if node_id is not None and node_id not in _nodes(owner):
        node_id = None
        notes.append("The chosen processing node is no longer available; WebODM chooses one.")
    return Processing(wanted, options, node_id, " ".join(notes))


def _nodes(user: Any) -> "set[int]":
    return {node.id for node in host_nodes.nodes_for(user)}
