"""The Content-Security-Policy of our pages inside WebODM's frame."""

#: The frame holds inline scripts, and WebODM's bundles use eval; what we can still forbid, we do.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:{images}; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}")


def policy(*, images_from: str = "", ancestors: str = "'none'") -> str:
    """The header's value.

    :param images_from: another origin that pictures may come from
    :param ancestors: pages that may show this one in a frame, as ``frame-ancestors`` wants it
    """
    return _POLICY.format(images=f" {images_from}" if images_from else "", ancestors=ancestors)
