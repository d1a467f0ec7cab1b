# SPDX-License-Identifier: Apache-2.0
"""Who may do what: oslo.policy rules with their defaults."""

from __future__ import annotations

from oslo_policy import policy

ADMIN = "role:admin"
OWNER = "role:admin or project_id:%(project_id)s"
USER = "role:admin or role:reader or role:member"
MEMBER = "role:admin or role:member"

RULES = {
    "glancesync:events:create": (
        "role:service or role:admin",
        "Hand in hints that images changed.",
        "POST",
        "/v1/events",
    ),
    "glancesync:images:list": (
        USER,
        "List the images of one's project, with their replicas.",
        "GET",
        "/v1/images",
    ),
    "glancesync:images:list_all": (ADMIN, "See the images of all projects.", "GET", "/v1/images"),
    "glancesync:images:show": (OWNER, "Show one image.", "GET", "/v1/images/{id}"),
    "glancesync:images:sync": (
        ADMIN,
        "Ask for an image to be looked at now.",
        "POST",
        "/v1/images/{id}/sync",
    ),
    "glancesync:images:adopt": (
        ADMIN,
        "Take an image of a region for the replica.",
        "POST",
        "/v1/images/{id}/adopt",
    ),
    "glancesync:images:ensure": (
        OWNER,
        "Have an image brought to a region: one of the project's own, or that it may use.",
        "POST",
        "/v1/images/{id}/ensure",
    ),
    "glancesync:images:history": (
        OWNER,
        "Read what was done about an image.",
        "GET",
        "/v1/images/{id}/events",
    ),
    "glancesync:events:actor": (
        OWNER,
        "See who caused an event: the project is that of who did.",
        "GET",
        "/v1/images/{id}/events",
    ),
    "glancesync:images:verify": (
        ADMIN,
        "Ask for an image's replicas to be compared with home.",
        "POST",
        "/v1/images/{id}/verify",
    ),
    "glancesync:images:routes": (
        ADMIN,
        "See which way an image's bytes would go to a region.",
        "GET",
        "/v1/images/{id}/routes",
    ),
    "glancesync:images:unpin": (
        "role:admin or (role:member and project_id:%(project_id)s)",
        "Say that nobody wants an image in a region by name any more.",
        "DELETE",
        "/v1/images/{id}/pins/{region}",
    ),
    "glancesync:replicas:list": (
        USER,
        "List the replicas of one's project's images.",
        "GET",
        "/v1/replicas",
    ),
    "glancesync:tasks:list": (ADMIN, "List tasks.", "GET", "/v1/tasks"),
    "glancesync:tasks:show": (ADMIN, "Show a task.", "GET", "/v1/tasks/{id}"),
    "glancesync:tasks:retry": (ADMIN, "Retry a task now.", "POST", "/v1/tasks/{id}/retry"),
    "glancesync:tasks:cancel": (ADMIN, "Cancel a task.", "POST", "/v1/tasks/{id}/cancel"),
    "glancesync:regions:list": (ADMIN, "List regions.", "GET", "/v1/regions"),
    "glancesync:regions:show": (ADMIN, "Show a region.", "GET", "/v1/regions/{name}"),
    "glancesync:regions:update": (ADMIN, "Change a region.", "PATCH", "/v1/regions/{name}"),
    "glancesync:regions:adopt": (
        ADMIN,
        "Adopt all that is offered in a region.",
        "POST",
        "/v1/regions/{name}/adopt",
    ),
    "glancesync:regions:history": (
        ADMIN,
        "Read what was done about a region.",
        "GET",
        "/v1/regions/{name}/events",
    ),
    "glancesync:audits:list": (ADMIN, "List audits.", "GET", "/v1/audits"),
    "glancesync:audits:show": (ADMIN, "Show an audit.", "GET", "/v1/audits/{name}"),
    "glancesync:audits:run": (ADMIN, "Audit a region now.", "POST", "/v1/audits/{name}/run"),
    "glancesync:audits:release": (
        ADMIN,
        "Let deletions through that an audit holds back.",
        "POST",
        "/v1/audits/{name}/release",
    ),
    "glancesync:plans:list": (ADMIN, "List plans.", "GET", "/v1/plans"),
    "glancesync:plans:create": (ADMIN, "Have a plan made.", "POST", "/v1/plans"),
    "glancesync:plans:show": (ADMIN, "Show a plan with its steps.", "GET", "/v1/plans/{id}"),
    "glancesync:plans:apply": (ADMIN, "Apply a plan.", "POST", "/v1/plans/{id}/apply"),
    "glancesync:bindings:select": (
        "role:service or role:admin or (role:member and project_id:%(project_id)s)",
        "Ask for the region of a project, and have it bound to one at its first request.",
        "POST",
        "/v1/bindings/select",
    ),
    "glancesync:bindings:explain": (
        "role:service or role:admin",
        "See how each region would do for a project: capacity, cost and all.",
        "POST",
        "/v1/bindings/select",
    ),
    "glancesync:bindings:list": (
        "role:admin or role:service or role:reader or role:member",
        "List the bindings of one's project.",
        "GET",
        "/v1/bindings",
    ),
    "glancesync:bindings:list_all": (
        "role:service or role:admin",
        "See the bindings of all projects, and who made them.",
        "GET",
        "/v1/bindings",
    ),
    "glancesync:bindings:show": (
        "role:service or role:admin or project_id:%(project_id)s",
        "Show a binding.",
        "GET",
        "/v1/bindings/{id}",
    ),
    "glancesync:bindings:create": (ADMIN, "Bind a project by hand.", "POST", "/v1/bindings"),
    "glancesync:bindings:delete": (ADMIN, "End a binding.", "DELETE", "/v1/bindings/{id}"),
    "glancesync:rules:list": (ADMIN, "See the rules in force.", "GET", "/v1/rules"),
    "glancesync:rules:test": (
        ADMIN,
        "See which rule decides about an image.",
        "POST",
        "/v1/rules/test",
    ),
    "glancesync:rules:preview": (
        ADMIN,
        "See what other rules would change.",
        "POST",
        "/v1/rules/preview",
    ),
    "glancesync:jobs:list": (USER, "List the jobs of one's project.", "GET", "/v1/jobs"),
    "glancesync:jobs:all": (
        ADMIN,
        "See the jobs of all projects, and copy the images of all; no limit on active jobs.",
        "GET",
        "/v1/jobs",
    ),
    "glancesync:jobs:create": (
        MEMBER,
        "Have images that one may see copied to regions.",
        "POST",
        "/v1/jobs",
    ),
    "glancesync:jobs:replace": (
        ADMIN,
        "Replace what is in the way of a job, and was not made by glance-sync.",
        "POST",
        "/v1/jobs",
    ),
    "glancesync:jobs:promote": (
        MEMBER,
        "Have an image of a region become one of home's.",
        "POST",
        "/v1/regions/{name}/promote",
    ),
    "glancesync:jobs:show": (USER, "Show a job with its items.", "GET", "/v1/jobs/{id}"),
    "glancesync:jobs:cancel": (MEMBER, "End a job.", "POST", "/v1/jobs/{id}/cancel"),
    "glancesync:jobs:delete": (MEMBER, "Forget a job that has ended.", "DELETE", "/v1/jobs/{id}"),
    "glancesync:status:show": (ADMIN, "See whether all is in sync.", "GET", "/v1/status"),
}


def list_rules() -> list[policy.DocumentedRuleDefault]:
    """For oslopolicy-sample-generator and the enforcer."""
    return [
        policy.DocumentedRuleDefault(name, check, says, [{"method": method, "path": path}])
        for name, (check, says, method, path) in RULES.items()
    ]
