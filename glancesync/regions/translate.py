# SPDX-License-Identifier: Apache-2.0
"""Foreign errors become ours here, with the region's name and words an operator understands."""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Iterator, Mapping

import requests
from glanceclient import exc
from keystoneauth1 import exceptions as ksa

from glancesync.errors import Credential, RegionError, Transient, from_status, without_secrets

_LONGEST = 2000  # characters of an answer that are kept


@contextlib.contextmanager
def translated(region: str, doing: str) -> Iterator[None]:
    """Raise only :class:`RegionError`; ``doing`` says what was tried, as in "read the image"."""
    try:
        yield
    except ksa.HttpError as error:
        raise _answered(region, doing, error) from error
    except exc.HTTPException as error:
        text = in_words(str(error.details or type(error).__name__))
        raise _error(region, doing, int(error.code), text) from error
    except (ksa.ConnectionError, exc.CommunicationError, exc.InvalidEndpoint) as error:
        raise Transient(region, f"could not {doing}: {_silence(str(error))}") from error
    except (ksa.AuthPluginException, ksa.MissingRequiredOptions) as error:
        raise Credential(region, f"could not {doing}: no token: {error}") from error
    except (
        ksa.ClientException,
        exc.BaseException,
        requests.RequestException,
        ValueError,  # an answer that is not JSON, or not of the shape Glance documents
        LookupError,
        TypeError,
    ) as error:
        said = str(error) or type(error).__name__
        raise Transient(region, f"could not {doing}: {without_secrets(said[:_LONGEST])}") from error


def _answered(region: str, doing: str, error: ksa.HttpError) -> RegionError:
    response = error.response
    text = in_words(str(error.message) if response is None else response.text)
    headers = None if response is None else response.headers
    if (error.url or "").endswith("/auth/tokens"):  # Keystone's, not the region's
        doing += ": no token"
    return _error(region, doing, int(error.http_status or 0), text, headers)


def _error(
    region: str, doing: str, status: int, text: str, headers: Mapping[str, str] | None = None
) -> RegionError:
    said = f"could not {doing}: HTTP {status}: {without_secrets(text[:_LONGEST])}"[:_LONGEST]
    return from_status(region, said, status, headers)


def legible(response: requests.Response, *args: object, **kwargs: object) -> None:
    """A hook of ``requests``: make errors such that python-glanceclient passes them on.

    It drops the headers, and trips over most JSON and over answers without a Content-Type.
    """
    if response.status_code in (429, 503) and "Retry-After" in response.headers:
        raise ksa.from_response(response, str(response.request.method), response.url)
    if response.status_code >= 400:
        response.headers["Content-Type"] = "text/html"


def in_words(body: str) -> str:
    """What an answer says, without the JSON or HTML that Glance and proxies wrap it in."""
    with contextlib.suppress(ValueError, AttributeError):
        said = json.loads(body)
        said = said.get("error", said)  # as Keystone has it, or as Glance
        body = str(said.get("message", body))
    text = re.sub(r"<[^>]*>", " ", body)
    lines = [" ".join(html.unescape(line).split()) for line in text.splitlines()]
    return ": ".join(dict.fromkeys(line for line in lines if line))  # title and heading are equal


def _silence(text: str) -> str:
    """Why nobody answered, out of the layers of quotation in which libraries wrap it."""
    # What a Glance was to be told may have failed at Keystone already: the last named is silent.
    host = r"(https?://[^\s/:]+(?::\d+)?)"
    url = re.search(f"connection to {host}", text) or re.search(host, text)
    where = f" at {url.group(1)}" if url else ""
    known = re.search(r"(?i)connection refused|no route to host|name or service not known", text)
    if known or "ECONNREFUSED" in text:  # eventlet's word for it
        return f"nobody answers{where}: {known.group().lower() if known else 'connection refused'}"
    if re.search(r"(?i)timed? ?out", text):
        return f"no answer{where} in time"
    return " ".join(text.split())
