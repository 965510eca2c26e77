"""What actions have to learn before they can name their trainings, and the store lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast

from einfluence.action import Action
from einfluence.actions.attempt import Learning, Lesson, Scene
from einfluence.actions.planning import acting, scenes
from einfluence.compute import Done
from einfluence.errors import InputError, first_line
from einfluence.prepare import Prepared
from einfluence.session import Session
from einfluence.spec import Spec
from einfluence.store.store import Store


def lessons(action: Action, scene: Scene, *, foreseen: bool = False) -> Sequence[Lesson]:
    """What an action has to learn about a way of training (:meth:`.Learning.lessons`)."""
    if not hasattr(acting(action), "lessons"):
        return ()
    return cast("Learning", acting(action)).lessons(getattr(action, action.kind), scene, foreseen=foreseen)


def to_learn(spec: Spec, prepared: Sequence[Prepared], store: Store) -> list[Lesson]:
    """What the actions of a spec have to learn and the store lacks, each once."""
    found: dict[str, Lesson] = {}
    for item in prepared:
        for scene in scenes(spec, item, store) if item.part.actions else ():
            for lesson in (lesson for action in item.part.actions for lesson in lessons(action, scene)):
                if lesson.state not in found and store.state(lesson.state) is None:
                    found[lesson.state] = lesson
    return list(found.values())


def learn(lesson: Lesson, session: Session) -> None:
    """Learns one, and keeps it.

    Raises:
        InputError: When base, recipe or a sample does not fit, or the store cannot be written.
        RuntimeError: When it fails otherwise; says which, and of what.
    """
    try:
        lesson.learn(session)
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{lesson.label} failed: {first_line(error)}") from error


class Labelled(Protocol):
    """What is done one by one, and has a name for people."""

    @property
    def label(self) -> str:
        """That name."""
        ...


Missing = TypeVar("Missing", bound=Labelled)


def each_of(todo: Sequence[Missing], act: Callable[[Missing], None], failed: Callable[[str], None]) -> list[Done]:
    """Learns or explains what is missing; the run goes on without what cannot be, and its action names no training.

    Args:
        todo: What is missing.
        act: Does one of it (:func:`learn`, or :func:`einfluence.salient.explain`).
        failed: Called with a line for each that failed.

    Returns:
        What failed.

    Raises:
        InputError: As :func:`learn`.
    """
    done: list[Done] = []
    for one in todo:
        try:
            act(one)
        except InputError:
            raise
        except Exception as error:
            failed(str(error))
            done.append(Done(0, {one.label: str(error)}))
    return done
