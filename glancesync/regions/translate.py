"""Foreign errors become ours here, with the region's name and words an operator understands."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import requests
from glanceclient import exc
from keystoneauth1 import exceptions as ksa

from glancesync.errors import Conflict, Credential, Refused, RegionError, Throttled, Transient


@contextlib.contextmanager
def translated(region: str, doing: str) -> Iterator[None]:
    """Raise only :class:`RegionError`; ``doing`` says what was tried, as in "read the image"."""
    try:
        yield
    except exc.HTTPException as error:
        raise from_status(region, doing, int(error.code), _details(error)) from error
    except ksa.HttpError as error:
        raise from_status(region, doing, int(error.http_status or 0), str(error)) from error
    except (ksa.ConnectFailure, exc.CommunicationError) as error:
        raise Transient(region, f"could not {doing}: {_silence(str(error))}") from error
    except (ksa.AuthPluginException, ksa.MissingRequiredOptions) as error:
        raise Credential(region, f"could not {doing}: no token: {error}") from error
    except (
        ksa.ClientException,
        exc.BaseException,
        requests.RequestException,
        ValueError,  # an answer that is not JSON, or not of the shape Glance documents
        KeyError,
        TypeError,
    ) as error:
        said = str(error) or type(error).__name__
        raise Transient(region, f"could not {doing}: {said}") from error


def from_status(
    region: str, doing: str, status: int, details: str, retry_after: float | None = None
) -> RegionError:
    """The error for an HTTP status."""
    message = f"could not {doing}: HTTP {status}: {details}"[:2000]
    if status == 401:
        return Credential(region, message)
    if status == 409:
        return Conflict(region, message)
    if status == 429 or (status == 503 and retry_after is not None):
        return Throttled(region, message, retry_after=retry_after)
    if 400 <= status < 500 and status not in (404, 408, 410):
        return Refused(region, message)
    return Transient(region, message)


def _silence(text: str) -> str:
    """Why nobody answered, out of the layers of quotation in which libraries wrap it."""
    url = re.search(r"https?://[^\s/:]+(:\d+)?", text)
    where = f" at {url.group()}" if url else ""
    known = re.search(r"(?i)connection refused|no route to host|name or service not known", text)
    if known:
        return f"nobody answers{where}: {known.group().lower()}"
    if re.search(r"(?i)timed? ?out", text):
        return f"no answer{where} in time"
    return " ".join(text.split())


def _details(error: exc.HTTPException) -> str:
    text = str(error.details or error.__class__.__name__)
    return " ".join(text.split())
