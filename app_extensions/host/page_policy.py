"""The Content-Security-Policy of our pages inside WebODM's frame."""

#: As strict as WebODM allows: its frame has inline scripts, and its bundles use eval.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:{images}; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}")


def policy(*, images_from: str = "", ancestors: str = "'none'") -> str:
    """The header's value.

    :param images_from: another origin from which pictures may come
    :param ancestors: value of ``frame-ancestors``: the pages that may show this one in a frame
    """
    return _POLICY.format(images=f" {images_from}" if images_from else "", ancestors=ancestors)
