"""Which client is asking, seen through proxies whose word can be believed.

WebODM's nginx talks to gunicorn over a local socket (REMOTE_ADDR is empty) and appends the address it saw to
X-Forwarded-For. What stands left of that came from the client and proves nothing, so the list is read from its right
end.
"""
import ipaddress
from typing import Optional, Union

from app_extensions.openscan.conf import Network, conf

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def client_address(remote: str, forwarded_for: str, proxies: Optional[list[Network]] = None) -> str:
    """The client's address as text for comparing: IPv4 whole, IPv6 by its /64 (phones change the rest daily).

    :param remote: REMOTE_ADDR, empty behind a local socket
    :param forwarded_for: X-Forwarded-For, as it came
    :param proxies: networks to believe besides loopback (default: the setting)
    """
    trusted = conf.trusted_proxies if proxies is None else proxies
    last = _parse(remote)
    if remote and last is None:
        return "unknown"
    if last is not None and not _is_trusted(last, trusted):
        return _shown(last)
    for text in reversed(forwarded_for.split(",")):
        address = _parse(text)
        if address is None:
            break
        last = address
        if not _is_trusted(address, trusted):
            break
    return _shown(last) if last is not None else "local"


def _parse(text: str) -> Optional[Address]:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address, proxies: list[Network]) -> bool:
    return address.is_loopback or any(address in network for network in proxies if network.version == address.version)


def _shown(address: Address) -> str:
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
