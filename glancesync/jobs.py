# SPDX-License-Identifier: Apache-2.0
"""Looks up the images of a job where they are, and asks for them where they are wanted.

A job changes only what is desired: an image that is not one of home's is put on record with the
region it comes from, each image is pinned to the job's targets, and the task of each replica is
asked for. The rest is work as any other. Images are looked up some at a time, and written down with
how far the job is: a worker that dies in between costs nothing.

An image that is looked up at the source is, of what the journal knows: the image whose replica it
is there; the one that was copied from there before; one of the same id and bytes; or a new one.
With ``force`` it is a new one always, under a new id.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from glancesync.errors import LeaseLost
from glancesync.home import as_recorded, observed
from glancesync.interfaces import Baselines, Changes, ImageService, Jobs, Lost, Services
from glancesync.listing import with_members
from glancesync.model import Done, Image, ImageRecord, Original, Outcome, Task
from glancesync.orders import Item, Job, Wish
from glancesync.states import ENDED, ItemState

_AT_ONCE = 200  # items written in one transaction, if it need not be more
_MOST_READ = 50  # images looked up at a time: others may write in between
_NAME_READS = 8  # at a time, of one region
_NAMED = 5  # ids that a message lists
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SEEN_BY_ALL = frozenset({"public", "community"})
#: What an image of which kind brings along: property -> container format of what it names.
_PARTS = {"kernel_id": "aki", "ramdisk_id": "ari"}


class Unfit(Exception):  # noqa: N818 - it is said of an image
    """Why an image can't be copied, in words.

    ``ids``: of the images that a name means, where there are several. ``clash``: another image has
    its id.
    """

    def __init__(self, message: str, ids: Sequence[str] = (), *, clash: bool = False) -> None:
        super().__init__(message)
        self.ids = ids
        self.clash = clash


def is_id(resource: str) -> bool:
    """Whether it reads as the id of an image, not as a name."""
    return _ID.fullmatch(resource) is not None


def may_see(image: Image, project_id: str | None) -> bool:
    """Whether users of a project may see an image. Source: Glance API, "Visibility"."""
    if image.visibility in _SEEN_BY_ALL:
        return True
    if project_id is None:
        return False
    shared = image.visibility == "shared" and image.members.get(project_id) == "accepted"
    return shared or image.owner == project_id


def find(
    service: ImageService, resources: Collection[str], sees: Callable[[Image], bool]
) -> dict[str, Image | Unfit]:
    """What each id or name means among the images that somebody sees.

    :raises RegionError: the region did not let us, or may hide images from us
    """
    ids = {one.lower() for one in resources if is_id(one)}
    names = [one for one in resources if not is_id(one)]
    listed = {one.id: one for one in service.some(ids)} if ids else {}
    with concurrent.futures.ThreadPoolExecutor(_NAME_READS) as pool:
        named = dict(zip(names, pool.map(service.named, names), strict=True))
    for several in named.values():
        listed |= {one.id: one for one in several}
    full = with_members(service, list(listed.values()))
    there = {image_id: image or service.get(image_id) for image_id, image in full.items()}
    seen = {image_id: image for image_id, image in there.items() if image and sees(image)}
    found: dict[str, Image | Unfit] = {}
    for one in resources:
        meant = [one.lower()] if is_id(one) else sorted(image.id for image in named[one])
        meant = [image_id for image_id in meant if image_id in seen]
        if len(meant) == 1:
            found[one] = seen[meant[0]]
        elif meant:
            more = f" and {len(meant) - _NAMED} more" if len(meant) > _NAMED else ""
            said = ", ".join(meant[:_NAMED]) + more
            found[one] = Unfit(
                f"{len(meant)} images of {service.region} are called {one!r}: {said}", meant
            )
        else:
            kind = "image" if is_id(one) else "image called"
            name = one if is_id(one) else repr(one)
            found[one] = Unfit(f"{service.region} has no {kind} {name}")
    if len(seen) < len(listed) or any(isinstance(one, Unfit) for one in found.values()):
        service.require_admin()  # or it may only be hidden from us
    return found


class Jobbing:
    """Runs tasks of jobs. Safe to call from many threads.

    :param fresh: a new id for an image
    """

    def __init__(
        self,
        jobs: Jobs,
        baselines: Baselines,
        services: Services,
        fresh: Callable[[], str],
    ) -> None:
        self._jobs = jobs
        self._baselines = baselines
        self._services = services
        self._fresh = fresh

    def run(self, task: Task, lost: Lost) -> tuple[Changes, Outcome]:
        """Look up what was not looked up yet; go on with what has waited for its parts.

        :raises RegionError: a source did not let us
        """
        while True:
            job = self._jobs.get(int(task.image_id))
            if job is None or job.cancelled_at is not None:
                return Changes(), Done("there is nothing to do for it")
            if job.position >= job.size:
                break
            if lost.is_set():
                raise LeaseLost(f"the lease on {task.key} was lost")
            wish, resources = job.next(_AT_ONCE)
            resources = resources[:_MOST_READ]
            items, records = _Look(self._jobs, self._baselines, self._services, self._fresh)(
                job, wish, resources
            )
            self._jobs.expand(task, job, len(resources), items, records)
        self._jobs.let_go(task, job)
        return Changes(), Done("all its images are asked for")


@dataclasses.dataclass(frozen=True)
class _Known:
    """What an image of the source is in the journal."""

    image_id: str
    original: Original
    record: ImageRecord | None = None  # to be written


class _Look:
    """One look at some resources of a job."""

    def __init__(
        self, jobs: Jobs, baselines: Baselines, services: Services, fresh: Callable[[], str]
    ) -> None:
        self._jobs = jobs
        self._baselines = baselines
        self._services = services
        self._fresh = fresh
        self._items: dict[tuple[str, str], Item] = {}  # by source id and region
        self._known: dict[str, _Known] = {}  # by source id
        self._unfit: list[Item] = []

    def __call__(
        self, job: Job, wish: Wish, resources: Sequence[str]
    ) -> tuple[list[Item], list[ImageRecord]]:
        """The items for these, and the records of images that are written with them."""
        self._job, self._wish = job, wish
        service = self._services(wish.source)
        found = find(service, dict.fromkeys(resources), self._sees)
        images = {one.id: one for one in found.values() if isinstance(one, Image)}
        wanted = {one for image in images.values() for one in _named_parts(image).values()}
        parts = find(service, wanted, self._sees) if wanted else {}
        self._parts = {name: one for name, one in parts.items() if isinstance(one, Image)}
        everything = images | {one.id: one for one in self._parts.values()}
        self._before = self._jobs.copied(job.id, wish.source, everything)
        self._held = {
            str(placed.replica.replica_id): placed.image
            for placed in self._baselines.placed_as(wish.source, everything)
            if placed.replica.state not in ENDED
        }
        self._records = self._baselines.images_by_id(everything)
        self._homes = self._at_home(everything.keys() - self._held.keys() - self._records.keys())
        for resource in dict.fromkeys(resources):
            meant = found[resource]
            if isinstance(meant, Unfit):
                self._refuse(resource, None, meant)
            else:
                self._add(resource, meant)
        records = [one.record for one in self._known.values() if one.record is not None]
        return [*self._unfit, *self._items.values()], records

    def _at_home(self, unknown: Collection[str]) -> Mapping[str, Image]:
        """What home has under ids that the journal does not know, or not yet."""
        if self._wish.force or self._wish.source == self._services.home or not unknown:
            return {}
        home = self._services(self._services.home)
        full = with_members(home, home.some(unknown))
        there = {image_id: image or home.get(image_id) for image_id, image in full.items()}
        return {image_id: image for image_id, image in there.items() if image is not None}

    def _sees(self, image: Image) -> bool:
        return self._job.everything or may_see(image, self._job.project_id)

    # -- what is asked for ------------------------------------------------------------------------

    def _add(self, resource: str, image: Image) -> None:
        """The items of an image and, before them, those of its parts."""
        try:
            parts = self._parts_of(image)
            known = {part.id: self._identify(part, {}) for part in parts.values()}
            references = {name: known[part.id].image_id for name, part in parts.items()}
            this = self._identify(image, references)
        except Unfit as error:
            self._refuse(resource, image, error)
            return
        for part in parts.values():
            self._want(part.id, part, known[part.id], part=True)
        needs = tuple(dict.fromkeys(known[part.id].image_id for part in parts.values()))
        self._want(resource, image, this, needs=needs)

    def _parts_of(self, image: Image) -> dict[str, Image]:
        """The images that this one refers to: property -> image.

        :raises Unfit: one is missing, or not what it has to be
        """
        named = _named_parts(image)
        if image.container_format == "ami" and "kernel_id" not in named:
            raise Unfit("it is an AMI, and its kernel_id does not name an image")
        found = {}
        for name, part_id in named.items():
            part, wanted = self._parts.get(part_id), _PARTS[name]
            what = name.removesuffix("_id")
            if part is None:
                raise Unfit(f"its {what}, image {part_id}, is not in {self._wish.source}")
            if part.container_format != wanted:
                raise Unfit(
                    f"its {what}, image {part_id}, has the container format "
                    f"{part.container_format}, not {wanted}"
                )
            try:
                self._check(part)
            except Unfit as error:
                raise Unfit(f"its {what}, image {part_id}: {error}") from None
            found[name] = part
        self._check(image)
        return found

    def _check(self, image: Image) -> None:
        if not image.has_data:
            raise Unfit(f"it is {image.status} in {self._wish.source}: there is nothing to copy")
        publishes = self._wish.force or self._services.home in self._wish.targets
        if publishes and not self._job.everything and image.owner != self._job.project_id:
            said = "under a new id" if self._wish.force else "to home"
            raise Unfit(f"only who it belongs to may have it copied {said}")

    def _refuse(self, resource: str, image: Image | None, why: Unfit) -> None:
        state = ItemState.CONFLICT if why.clash else ItemState.REFUSED
        for region in self._wish.targets:
            item = self._item(resource, image, region, state)
            self._unfit.append(dataclasses.replace(item, result=str(why)))

    def _want(
        self,
        resource: str,
        image: Image,
        known: _Known,
        *,
        needs: tuple[str, ...] = (),
        part: bool = False,
    ) -> None:
        for region in self._wish.targets:
            if (image.id, region) in self._items or self._is_wanted(image, region):
                continue
            state = ItemState.WAITING if needs else ItemState.PENDING
            item = self._item(resource, image, region, state)
            item = dataclasses.replace(item, image_id=known.image_id, needs=needs, part=part)
            if region == known.original.region:
                said = f"it is what image {known.image_id} is copied from"
                state, needs_none = ItemState.IN_SYNC, ()
                item = dataclasses.replace(item, state=state, needs=needs_none, result=said)
            self._items[image.id, region] = item

    def _is_wanted(self, image: Image, region: str) -> bool:
        """Whether the job had asked for it there before."""
        return any(
            (one.source_id, one.region, one.force) == (image.id, region, self._wish.force)
            and one.image_id is not None
            for one in self._before
        )

    def _item(self, resource: str, image: Image | None, region: str, state: ItemState) -> Item:
        return Item(
            self._job.id,
            resource,
            self._wish.source,
            region,
            state,
            source_id=None if image is None else image.id,
            name=None if image is None else image.name,
            size=None if image is None else image.size,
            force=self._wish.force,
            replace=self._wish.replace,
        )

    # -- what it is in the journal ----------------------------------------------------------------

    def _identify(self, image: Image, references: Mapping[str, str]) -> _Known:
        """The image of the journal that this is, or becomes.

        :param references: property -> the journal's id of the image that it names
        :raises Unfit: the journal knows another image under that id
        """
        if image.id in self._known:
            return self._known[image.id]
        known = (
            self._forced(image, references) if self._wish.force else self._kept(image, references)
        )
        self._known[image.id] = known
        return known

    def _forced(self, image: Image, references: Mapping[str, str]) -> _Known:
        for one in self._before:
            if one.force and one.source_id == image.id and one.image_id is not None:
                return _Known(one.image_id, Original(self._wish.source, image.id))
        return self._new(image, self._fresh(), references)

    def _kept(self, image: Image, references: Mapping[str, str]) -> _Known:
        here = Original(self._wish.source, image.id)
        held = self._held.get(image.id)
        record = held or self._records.get(image.id)
        if record is None:
            if here.region == self._services.home:
                return _Known(image.id, here, observed(image.id, image, None))
            if image.id not in self._homes:
                return self._new(image, image.id, references)
            record = observed(image.id, self._homes[image.id], None)
            self._check_bytes(image, record, self._services.home)
            return _Known(image.id, Original(self._services.home, image.id), record)
        original = Original.of(record.image_id, record, self._services.home)
        if original == here:
            seen = observed(record.image_id, as_recorded(image, record), record)
            news = seen if seen.fingerprint != record.fingerprint else None
            return _Known(record.image_id, here, news)
        if not record.present:
            if held is None:  # home's is gone for good; this one is another's now
                return self._new(image, image.id, references, record)
            raise Unfit(f"it is a replica of home's image {record.image_id}, which is deleted")
        if held is None:
            self._check_bytes(image, record, original.region)
        return _Known(record.image_id, original)

    @staticmethod
    def _check_bytes(image: Image, record: ImageRecord, region: str) -> None:
        if not _same_bytes(image, record):
            raise Unfit(
                f"image {record.image_id} of {region} has the same id and other bytes; "
                "with force it is copied under a new one",
                clash=True,
            )

    def _new(
        self,
        image: Image,
        image_id: str,
        references: Mapping[str, str],
        old: ImageRecord | None = None,
    ) -> _Known:
        """An image that comes from the source from now on."""
        here = Original(self._wish.source, image.id)
        copied = dataclasses.replace(
            image, id=image_id, properties={**image.properties, **references}
        )
        record = dataclasses.replace(
            observed(image_id, copied, old),
            actor=self._job.actor,
            origin=here.region,
            origin_id=here.image_id,
        )
        return _Known(image_id, here, record)


def _named_parts(image: Image) -> dict[str, str]:
    """The ids that an image names as its kernel and ramdisk, by property."""
    named = {name: image.properties.get(name, "") for name in _PARTS}
    return {name: value.lower() for name, value in named.items() if is_id(value)}


def _same_bytes(image: Image, record: ImageRecord) -> bool:
    known = image.os_hash_value is not None
    return known and (image.size, image.os_hash_value) == (record.size, record.os_hash_value)
