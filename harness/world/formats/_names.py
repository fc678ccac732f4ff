"""The names of a scene's things, looked up once for all the questions that are asked about it.

Imports harness.world alone.
"""

from random import Random

from harness.world import wording
from harness.world.scene import Relation, Scene, Thing
from harness.world.wording import Reference

_SHORT = ("noun", "look", "size", "side")


class Names:
    """How the things of one scene can be called, each so that nothing else is meant."""

    def __init__(self, scene: Scene) -> None:
        """Look all names up."""
        self.scene = scene
        self._known = {thing.id: wording.references(scene, thing) for thing in scene.things}
        self.clear = tuple(thing for thing in scene.things if self._known[thing.id])
        """The things that have a name of their own."""
        self.people = tuple(thing for thing in self.clear if thing.person)
        self.objects = tuple(thing for thing in self.clear if not thing.person)

    def the(self, thing: Thing, draw: Random | None = None) -> str:
        """Return "the red dog"; with `draw` any of the short names.

        Raises IndexError for a thing without a name of its own.
        """
        known = self._known[thing.id]
        short = [name for name in known if name.by in _SHORT]
        if not short:
            return f"the {known[0].text}"
        if draw is not None:
            return f"the {draw.choice(short[:4]).text}"
        look = next((name for name in short if name.by == "look"), short[0])
        return f"the {look.text}"

    def plainly(self, thing: Thing, *hidden: str) -> str | None:
        """Return a name without any of the words `hidden` (colours that are asked for)."""
        for name in self._known[thing.id]:
            if not set(name.text.split()).intersection(hidden):
                return f"the {name.text}"
        return None

    def found(self, thing: Thing) -> tuple[Reference, ...]:
        """Return all names of a thing."""
        return self._known[thing.id]

    def doing(self, thing: Thing) -> str | None:
        """Return what a person does, "reading the red book"; None if its object has no name."""
        person = thing.person
        if person is None:
            return None
        text = self.filled(thing, "{object}")
        return None if text is None else wording.action(self.scene, thing)

    def filled(self, thing: Thing, text: str) -> str | None:
        """Put the object of a person's action into a text; None if the object has no name."""
        person = thing.person
        if person is None or person.object is None:
            return text
        known = self._known[person.object]
        return (
            text.replace("{object}", self.the(self.scene.thing(person.object))) if known else None
        )

    def relations(self, thing: Thing | None = None) -> list[Relation]:
        """Return the relations between things with names, all or those of one subject."""
        return [
            relation
            for relation in self.scene.relations
            if (thing is None or relation.subject == thing.id)
            and self._known[relation.subject]
            and self._known[relation.object]
        ]

    def related(self, relation: Relation) -> str:
        """Return "the red dog is to the left of the car"."""
        one, other = self.scene.thing(relation.subject), self.scene.thing(relation.object)
        return f"{self.the(one)} is {relation.name} {self.the(other)}"
