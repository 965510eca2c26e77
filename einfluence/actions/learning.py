"""What actions have to learn before they can name their trainings, and the store lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from einfluence.action import Action
from einfluence.actions.attempt import Learning, Scene
from einfluence.actions.planning import acting, scenes
from einfluence.compute import Done
from einfluence.errors import InputError, first_line
from einfluence.prepare import Prepared
from einfluence.session import Session
from einfluence.spec import Spec
from einfluence.store.store import Store


@dataclass(frozen=True)
class ToLearn:
    """A state that is missing: of one action, for one way of training with one seed."""

    scene: Scene
    action: Action
    state: str
    about: str

    @property
    def label(self) -> str:
        """What is learned, for run names and logs."""
        scene = self.scene
        return f"{scene.item.base.label} {self.action.kind} {scene.trained.label} seed {scene.key.seed}: {self.about}"


def to_learn(spec: Spec, prepared: Sequence[Prepared], store: Store) -> list[ToLearn]:
    """The states that the actions of a spec want and the store lacks, each once."""
    found: dict[str, ToLearn] = {}
    for item in prepared:
        learning = [action for action in item.part.actions if hasattr(acting(action), "learn")]
        for scene in scenes(spec, item, store) if learning else ():
            for action in learning:
                states = cast("Learning", acting(action)).states(getattr(action, action.kind), scene)
                for state, about in states.items():
                    if store.state(state) is None:
                        found.setdefault(state, ToLearn(scene, action, state, about))
    return list(found.values())


def learn(missing: ToLearn, session: Session) -> None:
    """Learns one, and keeps it.

    Raises:
        InputError: When base, recipe or a sample does not fit, or the store cannot be written.
        RuntimeError: When it fails otherwise; says which, and of what.
    """
    action = missing.action
    try:
        cast("Learning", acting(action)).learn(getattr(action, action.kind), missing.scene, missing.state, session)
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{missing.label} failed: {first_line(error)}") from error


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
    for missing in todo:
        try:
            act(missing)
        except InputError:
            raise
        except Exception as error:
            failed(str(error))
            done.append(Done(0, {missing.label: str(error)}))
    return done
