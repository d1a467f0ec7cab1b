# SPDX-License-Identifier: Apache-2.0
"""The paste filter ``glance_sync_locations``: the door for files of a target region.

In glance-api-paste.ini, after ``context`` in every keystone pipeline::

    [filter:glance_sync_locations]
    paste.filter_factory = glance_patch.locations:filter_factory

Glance takes no ``file:`` location from anybody, because it would then serve any file of its host
(CVE-2014-9493). This filter lets the role ``service``, and nobody else, say that a queued image is
the file which lies where Glance itself would have put it: ``file://<datadir>/<image id>``. All
other requests reach Glance as they came, and its own checks stay in force for them.

The image then becomes active on the way an upload goes (quotas, format inspection, signatures,
notifications, hooks), only that nothing is copied.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import stat
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import webob
import webob.exc
from oslo_config import cfg

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]

LOG = logging.getLogger(__name__)

INFO = "/v2/info/glance_sync"
LOCATIONS = re.compile(r"/v2/images/([^/]+)/locations/?")
ROLE = "service"
LONGEST_BODY = 65536  # bytes; a location is a few hundred
CHUNK = 65536  # bytes read at a time, until the format of the image is known

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MD5 = re.compile(r"[0-9a-f]{32}")
HEX = re.compile(r"[0-9a-f]*")
#: Beside what Glance's ``hashing_algorithm`` names, which is what its own uploads have.
ALGORITHMS = frozenset("sha256 sha384 sha512 sha3_256 sha3_384 sha3_512 blake2b blake2s".split())  # noqa: SIM905
FIELDS = ("url", "size", "checksum", "validation_data")


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[App], App]:
    """Return a filter that puts the door before an application.

    If this Glance is not one it fits, that is logged and Glance runs without.
    """

    def put_before(app: App) -> App:
        try:
            _check_glance()
            return Door(app)
        except Exception:
            LOG.exception("glance_sync_locations could not be set up; this Glance adopts no files")
            return app

    return put_before


def _check_glance() -> None:
    """Import all the door will need, so that what is missing is found before a request is."""
    import glance.api.v2.policy
    import glance.gateway
    import glance.location
    import glance.quota.keystone
    from oslo_utils.imageutils import format_inspector

    for owner, name in (
        (glance.location.ImageProxy, "_upload_to_store"),  # without it there would be an upload
        (glance.location.ImageProxy, "_verify_signature"),
        (format_inspector.InspectWrapper, "format"),
    ):
        if not hasattr(owner, name):
            raise TypeError(f"{owner.__module__}.{owner.__name__} has no {name}")


class Rule(Exception):  # noqa: N818 - it names what was broken
    """A request that breaks a rule; the message names field and rule."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Order(NamedTuple):
    """What is said of the file; checked for form, not yet for truth."""

    url: str
    size: int
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None


class Door:
    """The WSGI application: answers two requests, and hands everything else to Glance's."""

    def __init__(self, app: App) -> None:
        from glance.api import policy
        from glance.gateway import Gateway

        self._app = app
        self._gateway = Gateway()
        self._enforcer = policy.Enforcer()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        found = LOCATIONS.fullmatch(path) if method == "POST" else None
        if not found and not (method == "GET" and path == INFO):
            return self._app(environ, start_response)
        request = webob.Request(environ)
        try:
            response = self._post(request, found[1]) if found else self._info(request)
        except Rule as error:
            response = _answer(error.status, {"error": _error(error.status, str(error))})
        if response is None:
            return self._app(environ, start_response)
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    def _info(self, request: webob.Request) -> webob.Response:
        _require_role(_context(request))
        return _answer(200, {"file_stores": {name: dirs[0] for name, dirs in file_stores()}})

    def _post(self, request: webob.Request, image_id: str) -> webob.Response | None:
        """The answer, or None if it is not about a file: the body can then be read once more."""
        body = _body(request)
        if not isinstance(body, dict) or not means_a_file(body.get("url")):
            return None
        context = _context(request)
        _require_role(context)
        order = order_from(body)
        with _translated():
            self._adopt(context, image_id, order)
        LOG.info("Image %s became active: its file was there", image_id)
        return _answer(200, {"image_id": image_id})

    def _adopt(self, context: Any, image_id: str, order: Order) -> None:
        from glance.api.v2.policy import ImageAPIPolicy

        repo = self._gateway.get_repo(context)
        image = repo.get(image_id)
        ImageAPIPolicy(context, image, self._enforcer).add_location()
        _check_image(_layers(image)[1], image_id)
        store, directory = _place(order.url, image_id)
        with opened(directory, image_id, order.size) as file:
            _use_file(context, image, order, store, file)
        repo.save(image, from_state="queued")


# -- the request ----------------------------------------------------------------------------------


def _context(request: webob.Request) -> Any:
    """Who asks, as Glance's ContextMiddleware found out; None if the filter stands before it."""
    return getattr(request, "context", None)


def _require_role(context: Any) -> None:
    if ROLE not in (getattr(context, "roles", None) or ()):
        raise Rule(403, f"files are adopted for the role {ROLE} only")


def _body(request: webob.Request) -> Any:
    """The JSON of the body, None if it is none; it can be read once more.

    :raises Rule: it is too long to be a location
    """
    if request.content_length is None:  # nor can Glance read such a one as JSON
        return None
    if request.content_length > LONGEST_BODY:
        raise Rule(413, f"the body of a location has at most {LONGEST_BODY} bytes")
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return None


def means_a_file(url: Any) -> bool:
    """Whether any reader might take it for a file of this host: then it does not reach Glance."""
    if not isinstance(url, str):
        return False
    visible = "".join(char for char in url if char.isprintable() and not char.isspace())
    return visible.lower().startswith(("file", "/"))


def order_from(body: dict[str, Any]) -> Order:
    """What the body asks for.

    :raises Rule: a field is missing, unknown or not of its form
    """
    for name in body:
        if name not in FIELDS:
            raise Rule(400, f"{name}: unknown; there are {', '.join(FIELDS)}")
    size = body.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise Rule(400, "size: must be the number of bytes of the file, above 0")
    checksum = body.get("checksum")
    if checksum is not None and not (isinstance(checksum, str) and MD5.fullmatch(checksum)):
        raise Rule(400, "checksum: must be an MD5 as 32 lower-case hexadecimal digits, or null")
    algorithm, value = _hash_from(body.get("validation_data"))
    if checksum is None and value is None:
        raise Rule(400, "validation_data: must be there if checksum is not")
    return Order(body["url"], size, checksum, algorithm, value)


def _hash_from(said: Any) -> tuple[str | None, str | None]:
    if said is None:  # images from before Glance 17 have none
        return None, None
    if not isinstance(said, dict) or set(said) != {"os_hash_algo", "os_hash_value"}:
        raise Rule(400, "validation_data: must have os_hash_algo and os_hash_value and no more")
    algorithm, value = said["os_hash_algo"], said["os_hash_value"]
    allowed = ALGORITHMS | {cfg.CONF.hashing_algorithm}
    if not isinstance(algorithm, str) or algorithm not in allowed & hashlib.algorithms_available:
        raise Rule(400, f"os_hash_algo: must be one of {', '.join(sorted(allowed))}")
    digits = 2 * hashlib.new(algorithm).digest_size
    if not (isinstance(value, str) and HEX.fullmatch(value) and len(value) == digits):
        raise Rule(400, f"os_hash_value: must be {digits} lower-case hexadecimal digits")
    return algorithm, value


# -- the image and its file -----------------------------------------------------------------------


def _check_image(image: Any, image_id: str) -> None:
    """Raise Rule unless the image waits for its bytes, and nobody is about to bring them."""
    # Some databases find an id in another spelling; it is the name of the file.
    if image.image_id != image_id or not UUID.fullmatch(image_id):
        raise Rule(400, "image id: must be a lower-case UUID, as the image has it")
    if image.status != "queued":
        raise Rule(409, f"status: the image is {image.status}, not queued")
    if len(image.locations):
        raise Rule(409, "locations: the image has one already")
    if image.extra_properties.get("os_glance_import_task"):
        raise Rule(409, "os_glance_import_task: an import of the image is going on")
    for name in ("container_format", "disk_format"):
        if not getattr(image, name):
            raise Rule(409, f"{name}: must be set before the image has data")


def file_stores() -> Iterator[tuple[str, list[str]]]:
    """Glance's file stores with their directories, the preferred one first.

    The id is "" where ``enabled_backends`` is not set. Directories that do not survive being put
    into a URL as Glance does it are left out: Glance does not find its own files there either.
    """
    conf = cfg.CONF
    if conf.enabled_backends:
        stores = {
            name: conf[name]
            for name, kind in conf.enabled_backends.items()
            if kind == "file" and not name.startswith("os_glance_")
        }
    else:
        names = {"file", "glance.store.filesystem.Store"}
        stores = {"": conf.glance_store} if names & set(conf.glance_store.stores) else {}
    for name, options in stores.items():
        if directories := [path for path in _datadirs(options) if _survives(path)]:
            yield name, directories


def _datadirs(options: Any) -> list[str]:
    if options.filesystem_store_datadir:
        return [options.filesystem_store_datadir]
    weighed = []
    for entry in options.filesystem_store_datadirs or ():
        path, _, priority = entry.rpartition(":") if ":" in entry else (entry, "", "0")
        weighed.append((-int(priority or 0), path.strip()))
    return [path for _, path in sorted(weighed, key=lambda one: one[0])]


def _survives(directory: str) -> bool:
    path = os.path.join(directory, "image")
    pieces = urllib.parse.urlparse(f"file://{path}")
    return os.path.isabs(directory) and (pieces.netloc + pieces.path).strip() == path


def _place(url: str, image_id: str) -> tuple[str, str]:
    """The store and the directory whose URL for the image is this very string."""
    for store, directories in file_stores():
        for directory in directories:
            if url == "file://" + os.path.join(directory, image_id):
                return store, directory
    raise Rule(400, "url: must be file://<datadir of a file store>/<image id>, letter by letter")


@contextlib.contextmanager
def opened(directory: str, name: str, size: int) -> Iterator[BinaryIO]:
    """The file of this name in the directory itself, open for reading.

    :raises Rule: it is not there, is no regular file (nothing is followed), or has another size
    """
    try:
        # Not O_PATH: a directory of a network file system is only looked at anew when it is opened.
        with _closing(os.open(directory, os.O_RDONLY | os.O_DIRECTORY)) as parent:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            number = os.open(name, flags, dir_fd=parent)
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else (error.strerror or "?").lower()
        raise Rule(400, f"url: Glance can't open the file: {why}") from None
    with _closing(number):
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise Rule(400, "url: must be a regular file")
        if status.st_size != size:
            raise Rule(400, f"size: the file has {status.st_size} bytes, not {size}")
        with open(number, "rb", buffering=0, closefd=False) as file:
            yield file


@contextlib.contextmanager
def _closing(number: int) -> Iterator[int]:
    try:
        yield number
    finally:
        os.close(number)


# -- Glance ---------------------------------------------------------------------------------------


def _use_file(context: Any, image: Any, order: Order, store: str, file: BinaryIO) -> None:
    """Make the image active as ``glance.api.v2.image_data`` does, with the bytes that are there."""
    from glance.quota import keystone

    megabyte = 1024 * 1024
    keystone.enforce_image_size_total(context, context.owner, delta=order.size // megabyte)
    proxy, entity = _layers(image)

    metadata = {"store": store} if store else {}

    def note_where_it_is(data: Any, verifier: Any, *_: Any, **__: Any) -> None:
        _inspect(data, verifier)
        proxy._verify_signature(verifier, order.url, metadata)
        # On the entity: the layers above it refuse file locations, and go on doing so.
        entity.locations = [{"url": order.url, "metadata": metadata, "status": "active"}]
        entity.size, entity.checksum = order.size, order.checksum
        entity.os_hash_algo, entity.os_hash_value = order.os_hash_algo, order.os_hash_value

    proxy._upload_to_store = note_where_it_is
    image.set_data(file, order.size, backend=store or None)


def _layers(image: Any) -> tuple[Any, Any]:
    """The layer of an image that knows of stores, and the entity below all layers."""
    import glance.domain.proxy
    import glance.location

    proxy = None
    while isinstance(image, glance.domain.proxy.Image):
        if isinstance(image, glance.location.ImageProxy):
            proxy = image
        image = image.base
    if proxy is None:
        raise TypeError("no layer of the image is a glance.location.ImageProxy")
    return proxy, image


def _inspect(data: Any, verifier: Any) -> None:
    """Read as much as Glance needs to know the format and look into it; all for a signature."""
    from oslo_utils.imageutils.format_inspector import InspectWrapper

    inspected = isinstance(data, InspectWrapper)  # Glance wraps what has no container
    while verifier or inspected:
        chunk = data.read(CHUNK)
        if not chunk:
            break
        if verifier:
            verifier.update(chunk)
        elif _is_decided(data):
            break


def _is_decided(data: Any) -> bool:
    from oslo_utils.imageutils.format_inspector import ImageFormatError

    try:
        return data.format is not None
    except ImageFormatError:  # more than one
        return True


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise Rule for what Glance says no to, in its words."""
    from glance.common import exception

    statuses: list[tuple[type[Exception], int]] = [
        (exception.NotFound, 404),
        (exception.Forbidden, 403),
        (exception.Conflict, 409),
        (exception.Duplicate, 409),
        (exception.InvalidImageStatusTransition, 409),
        (exception.StorageQuotaFull, 413),
        (exception.LimitExceeded, 413),
        (exception.ImageSizeLimitExceeded, 413),
        (exception.InvalidImageData, 415),
        (exception.Invalid, 400),
    ]
    try:
        yield
    except Rule:
        raise
    except webob.exc.HTTPException as error:
        said = getattr(error, "detail", None) or getattr(error, "explanation", None)
        raise Rule(error.status_int, str(said or error)) from error
    except Exception as error:
        for kind, status in statuses:
            if isinstance(error, kind):
                raise Rule(status, str(error)) from error
        if type(error).__module__.startswith("cursive."):  # a signature, or its certificate
            raise Rule(400, str(error)) from error
        LOG.exception("glance_sync_locations failed")
        raise Rule(500, "Glance failed; its log says why") from error


def _error(status: int, message: str) -> dict[str, Any]:
    return {"code": status, "title": webob.exc.status_map[status].title, "message": message}


def _answer(status: int, body: dict[str, Any]) -> webob.Response:
    return webob.Response(status=status, json_body=body, content_type="application/json")
