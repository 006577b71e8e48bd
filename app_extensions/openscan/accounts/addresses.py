"""Finds out which client is calling, through trusted proxies only.

WebODM's nginx talks to gunicorn over a local socket (REMOTE_ADDR is empty) and appends the address it saw to X-Forwarded-For.
Everything left of that came from the client and proves nothing, so the list is read from its right end.
"""
import ipaddress
import os
from typing import Optional, Union

from django.utils.crypto import salted_hmac

from app_extensions.openscan.conf import Network, conf

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
#: What a fingerprint begins with.
FINGERPRINT = "was:"


def client_address(remote: str, forwarded_for: str, proxies: Optional[list[Network]] = None) -> str:
    """The client's address as comparable text: the IPv4 address, or the /64 network of IPv6, because phones change the rest daily.

    :param remote: REMOTE_ADDR, empty behind a local socket
    :param forwarded_for: the X-Forwarded-For header, unchanged
    :param proxies: networks to trust besides loopback (default: the setting)
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


def is_blind() -> bool:
    """Whether a TLS proxy is declared but none is trusted. All clients then seem to have the proxy's address."""
    declared = os.environ.get("WO_BEHIND_TLS_PROXY", "").strip().upper() in ("YES", "TRUE", "1", "ON")
    return declared and not conf.trusted_proxies


def network_of(client: str) -> str:
    """What counts as one client for limits where addresses are free: the IPv4 address, or the /48 of IPv6, of which a site has one.

    :param client: a result of ``client_address``
    """
    try:
        network = ipaddress.ip_network(client, strict=False)
    except ValueError:
        return client
    return str(network.supernet(new_prefix=48)) if network.version == 6 and network.prefixlen > 48 else client


def fingerprint(client: str, scan_id: int) -> str:
    """A hash that replaces a forgotten client address. It can be compared within one scan, but not across scans or traced back."""
    return FINGERPRINT + salted_hmac("openscan.client-address", f"{scan_id}.{client}").hexdigest()[:32]


def is_fingerprint(stored: str) -> bool:
    """Whether this is a fingerprint instead of an address."""
    return stored.startswith(FINGERPRINT)


def belongs_to(stored: str, scan_id: int, client: str) -> bool:
    """Whether a scan's stored client is this one."""
    return stored == (fingerprint(client, scan_id) if is_fingerprint(stored) else client)


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
