"""Makes an nginx configuration of WebODM's fit for rigs: `patch_nginx.py FILE`, in place, repeatable.

- request lines up to 64 kB (uploader.py and WindowsUploader.py send 9 kB and more);
- the access log without secrets: queries are cut off (they carry tokens and logins), and so is what follows the paths of
  upload and download links (it is the secret itself).

Nothing of WebODM's file is copied: what is changed is found by its text. Where that is missing, nothing is written and the exit
code is 1, because a server that logs tokens must not start unnoticed.
"""
import re
import sys
from pathlib import Path

MARKER = "# patched for webodm-extensions"
LINK_PATHS = r"/api/(?:openscan|plugins/openscan_cloud)/(?:u|download)/"
BLOCK = f"""
  {MARKER}: long request lines in, secrets out of the access log
  large_client_header_buffers 4 64k;
  map $request_uri $logged_uri {{
    "~^(?<logged_link>{LINK_PATHS})" "${{logged_link}}***";
    "~^(?<logged_path>[^?]*)[?]" "${{logged_path}}?***";
    default $request_uri;
  }}
"""


class AnchorMissing(Exception):
    """A place that has to be changed was not found."""


def _with_block(found: "re.Match[str]") -> str:
    return found.group(0) + BLOCK


def patched(text: str) -> str:
    """`text` with our changes; the same text if they are in already. Raises AnchorMissing."""
    if MARKER in text:
        return text
    text, blocks = re.subn(r"^http\s*\{[^\S\n]*$", _with_block, text, flags=re.MULTILINE)
    if blocks != 1:
        raise AnchorMissing(f"`http {{` was found {blocks} times, not once")
    formats = list(re.finditer(r"^\s*log_format\s+[^;]*;", text, re.MULTILINE))
    if not formats:
        raise AnchorMissing("there is no log_format whose requests could be masked")
    if re.search(r"^\s*large_client_header_buffers\b", text.replace(BLOCK, ""), re.MULTILINE):
        raise AnchorMissing("large_client_header_buffers is set already: remove it, this command sets it")
    for found in reversed(formats):
        masked = re.sub(r"\$(request|request_uri|args|query_string)\b(?!_)", _masked_variable, found.group(0))
        if masked == found.group(0):
            raise AnchorMissing(f"this log_format names no request: {found.group(0).strip()}")
        masked = re.sub(r"\$http_(referer|authorization|cookie)\b", "-", masked)
        text = text[:found.start()] + masked + text[found.end():]
    if re.search(r"^\s*access_log\s+(?!off)\S+(\s+combined)?\s*;", text, re.MULTILINE):
        raise AnchorMissing("an access_log uses nginx's own format, which logs whole requests")
    return text


def _masked_variable(found: "re.Match[str]") -> str:
    return {"request": "$request_method $logged_uri $server_protocol", "request_uri": "$logged_uri"}.get(found.group(1), "***")


def main(name: str) -> int:
    """Patches the file; returns the exit code."""
    path = Path(name)
    try:
        text = path.read_text()
        new = patched(text)
    except (OSError, AnchorMissing) as error:
        print(f"error: {name} was not changed: {error}. OpenScan rigs need these changes; see docs/admin/docker.md.", file=sys.stderr)
        return 1
    if new != text:
        path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else "usage: patch_nginx.py FILE")
