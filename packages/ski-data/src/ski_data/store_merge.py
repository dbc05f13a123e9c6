"""Several skeleton stores as one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.progress import Progress
from ski_data.store import SkeletonStore, StoreWriter

log = logging.getLogger(__name__)


def merge(out: str, stores: list[str]) -> None:
    """Make one skeleton store of several, clip after clip, for example to add recordings.

    A store never changes, so that what reads it is never disturbed; to append clips, merge the
    store with a store of them, then use the new one. Classes are united by name in the order in
    which they are met, and labels follow them.

    Args:
        out: Store to make; it must not be there yet.
        stores: Stores of the same layout and number of bodies; at least one.

    Raises:
        MissingFileError: A store is not there.
        InputError: Stores that do not fit together, a clip name in two of them, a store that does
            not fit its checksum.
        ExistingOutputError: ``out`` is there already.
    """
    opened = [SkeletonStore(store) for store in stores]
    if not opened:
        raise InputError("name at least one store to merge")
    _check_names(opened)
    classes = unite([store.classes for store in opened], stores)
    first = opened[0]
    writer = StoreWriter(
        out,
        first.layout,
        bodies=first.bodies,
        single_body=first.single_body,
        classes=classes,
        validity=first.joint_validity.tolist(),
    )
    total = sum(map(len, opened))
    with writer, Progress(f"merge into {Path(out).name}", total) as progress:
        for store in opened:
            labels = None
            if classes is not None and store.classes is not None:
                labels = [classes.names.index(name) for name in store.classes.names]
            writer.extend(store, labels)
            progress.update(len(writer))
    log.info("%s: %d clips of %d stores", out, total, len(opened))


def unite(sets: Sequence[ClassSet | None], where: Sequence[Path | str]) -> ClassSet | None:
    """Every class of the sets once, by name, in the order in which they are met.

    Args:
        sets: Class sets; None where labels mean something unknown.
        where: What each is called in messages.

    Raises:
        InputError: Some sets are known and others not, or one id means two classes.
    """
    if all(classes is None for classes in sets):
        return None
    ids: dict[str, str] = {}
    numbered = all(classes is None or _numbered(classes) for classes in sets)
    for classes, place in zip(sets, where, strict=True):
        if classes is None:
            raise InputError(
                f"{place}: it is not known what its labels mean, of other stores it is; import it "
                "again with its classes"
            )
        for identity, name in zip(classes.ids, classes.names, strict=True):
            known = ids.setdefault(name, str(len(ids)) if numbered else identity)
            if not numbered and known != identity:
                raise InputError(f"{place}: class {name!r} is {identity}, elsewhere {known}")
    values = list(ids.values())
    if twice := {value for value in values if values.count(value) > 1}:
        names = [repr(name) for name, value in ids.items() if value == min(twice)]
        raise InputError(f"class id {min(twice)} means {' and '.join(names)} in different stores")
    return ClassSet(tuple(values), tuple(ids))


def _numbered(classes: ClassSet) -> bool:
    """Whether the ids are the labels and say nothing of their own."""
    return classes.ids == tuple(map(str, range(len(classes))))


def _check_names(stores: Sequence[SkeletonStore]) -> None:
    place: dict[str, SkeletonStore] = {}
    for store in stores:
        for name in store.names:
            if name in place:
                raise InputError(
                    f"clip {name} is in {place[name].folder} and in {store.folder}; names must be "
                    "unique, leave one out or import it under another name"
                )
            place[name] = store
