# SPDX-License-Identifier: Apache-2.0
"""The whole API in one table: path -> method -> handler."""

from __future__ import annotations

from collections.abc import Callable

from glancesync.api.call import Answer, Call
from glancesync.api.handlers import (
    audits,
    bindings,
    ensure,
    events,
    images,
    jobs,
    plans,
    regions,
    replicas,
    rules,
    status,
    tasks,
)

Handler = Callable[[Call], Answer]

ROUTES: dict[str, dict[str, Handler]] = {
    "/v1/events": {"POST": events.create},
    "/v1/images": {"GET": images.index},
    "/v1/images/{id}": {"GET": images.show},
    "/v1/images/{id}/sync": {"POST": images.sync},
    "/v1/images/{id}/ensure": {"POST": ensure.ensure},
    "/v1/images/{id}/adopt": {"POST": images.adopt},
    "/v1/images/{id}/events": {"GET": images.history},
    "/v1/images/{id}/routes": {"GET": images.routes},
    "/v1/images/{id}/verify": {"POST": images.verify},
    "/v1/images/{id}/pins/{region}": {"DELETE": images.unpin},
    "/v1/replicas": {"GET": replicas.index},
    "/v1/tasks": {"GET": tasks.index},
    "/v1/tasks/{id}": {"GET": tasks.show},
    "/v1/tasks/{id}/retry": {"POST": tasks.retry},
    "/v1/tasks/{id}/cancel": {"POST": tasks.cancel},
    "/v1/regions": {"GET": regions.index},
    "/v1/regions/{name}": {"GET": regions.show, "PATCH": regions.update},
    "/v1/regions/{name}/adopt": {"POST": regions.adopt},
    "/v1/regions/{name}/promote": {"POST": jobs.promote},
    "/v1/regions/{name}/events": {"GET": regions.history},
    "/v1/audits": {"GET": audits.index},
    "/v1/audits/{name}": {"GET": audits.show},
    "/v1/audits/{name}/run": {"POST": audits.run},
    "/v1/audits/{name}/release": {"POST": audits.release},
    "/v1/plans": {"GET": plans.index, "POST": plans.create},
    "/v1/plans/{id}": {"GET": plans.show},
    "/v1/plans/{id}/apply": {"POST": plans.apply},
    "/v1/bindings": {"GET": bindings.index, "POST": bindings.create},
    "/v1/bindings/select": {"POST": bindings.select},
    "/v1/bindings/{id}": {"GET": bindings.show, "DELETE": bindings.delete},
    "/v1/rules": {"GET": rules.index},
    "/v1/rules/test": {"POST": rules.test},
    "/v1/rules/preview": {"POST": rules.preview},
    "/v1/jobs": {"GET": jobs.index, "POST": jobs.create},
    "/v1/jobs/{id}": {"GET": jobs.show, "DELETE": jobs.delete},
    "/v1/jobs/{id}/cancel": {"POST": jobs.cancel},
    "/v1/status": {"GET": status.show},
}
