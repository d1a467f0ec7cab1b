# SPDX-License-Identifier: Apache-2.0
"""What other processes do to a journal while a test looks on. Run as a program:

``journal_processes.py claim URL OWNER``
    claims, one task at a time, until nothing is left; a line for each task

``journal_processes.py hint URL PREFIX``
    records one hint after the other for ever; a line for each that was acknowledged
"""

import itertools
import sys
import uuid

from glancesync.interfaces import Changes
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Done, Hint


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def claim(journal: Journal, owner: str) -> None:
    say("ready")
    sys.stdin.readline()  # all processes start together
    while tasks := journal.claim(owner, lease=60, limit=3, regions={""}):
        for task in tasks:
            say(str(task.id))
            journal.commit(task, Changes(), Done(owner))


def hint(journal: Journal, prefix: str) -> None:
    for number in itertools.count():
        image_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{prefix}{number}"))
        journal.hint([Hint(image_id)])
        say(image_id)


if __name__ == "__main__":
    {"claim": claim, "hint": hint}[sys.argv[1]](Journal(Database(sys.argv[2])), sys.argv[3])
