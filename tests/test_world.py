"""Scenes: the same from the same seed, what they claim holds, and pictures show it."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest
import world_data
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.world import build, draw, lore, render, wording
from harness.world.scene import Scene, Thing


def test_a_seed_names_one_world_and_a_larger_world_begins_with_the_smaller():
    small, large = draw.scenes(3, 40), draw.scenes(3, 60)
    assert large[:40] == small
    assert draw.scenes(4, 40) != small


def test_splits_share_no_scene_and_stand_four_to_one():
    world = world_data.small_world()
    train, test = world.split("train"), world.split("test")
    assert (len(train), len(test)) == (48, 12)
    assert not {scene.id for scene in train} & {scene.id for scene in test}
    looks = [Counter(repr(t.box) for t in scene.things) for scene in world.scenes]
    assert all(one != other for one, other in combinations(looks, 2))


@pytest.fixture(scope="module")
def shifted():
    """The test scenes of worlds with one shift each, and of the plain one under ""."""
    worlds = {name: draw.scenes(1, 120, (name,) if name else ()) for name in ("", *lore.SHIFTS)}
    plain = [scene for scene in worlds[""] if scene.split == "train"]
    for scenes in worlds.values():
        assert [scene for scene in scenes if scene.split == "train"] == plain
    return {n: [s for s in scenes if s.split == "test"] for n, scenes in worlds.items()}


def test_new_colours_are_in_test_scenes_of_that_shift_only(shifted):
    new = {
        name: mean(t.colour in lore.NEW_COLOURS for s in scenes for t in s.things)
        for name, scenes in shifted.items()
    }
    assert 0.4 < new.pop("colours") < 0.8
    assert set(new.values()) == {0}


def test_crowded_small_and_dark_do_what_they_say(shifted):
    def things(name):
        return mean(len(scene.things) for scene in shifted[name])

    def size(name):
        return median(t.area for s in shifted[name] for t in s.objects)

    assert things("crowded") > 1.6 * things("")
    assert size("small") < 0.4 * size("")
    assert {scene.time for scene in shifted["dark"]} == {"night"}
    assert {scene.time for scene in shifted[""]} == {"day", "night"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(), ("crowded",), ("small", "colours")]))
def test_relations_hold_in_pixels_and_have_their_inverse(seed, shifts):
    for scene in draw.scenes(seed, 5, shifts):
        held = {(r.subject, r.name, r.object) for r in scene.relations}
        for subject, name, other in held:
            one, two = scene.thing(subject).box, scene.thing(other).box
            if name == "to the left of":
                assert one[2] < two[0] and (other, "to the right of", subject) in held
                assert (subject, "above", other) not in held
            elif name == "above":
                assert one[3] < two[1] and (other, "below", subject) in held
            elif name == "near":
                assert max(two[0] - one[2], one[0] - two[2]) < 0.05 * scene.width
                assert (other, "near", subject) in held
            elif name == "on":
                assert one[0] < two[2] and two[0] < one[2] and two[1] < one[3] < two[3] + 12
            assert name in lore.RELATIONS and subject != other


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_what_people_do_fits_what_is_there(seed):
    for scene in draw.scenes(seed, 5):
        names = [t.person.name for t in scene.people]
        texts = [t.text for t in scene.things if t.text]
        assert len(set(names)) == len(names) and len(set(texts)) == len(texts)
        used = Counter(t.person.object for t in scene.people if t.person.action != "point")
        assert all(count == 1 for thing, count in used.items() if thing is not None)
        for thing in scene.people:
            body = thing.person
            action = lore.ACTIONS[body.action]
            assert not action.places or scene.place in action.places
            assert thing.colour == body.shirt and thing.kind == "person"
            assert bool(action.needs) == (body.object is not None)
            if body.object is not None:
                target = scene.thing(body.object)
                assert target.kind in action.needs
                apart = max(target.box[0] - thing.box[2], thing.box[0] - target.box[2])
                assert apart < 0.5 * scene.width if body.action == "point" else apart < 60
            assert body.gaze is None or scene.thing(body.gaze) is not thing


def masks(scene: Scene) -> dict[int, np.ndarray]:
    """Where each thing is when it is painted alone."""
    blank = np.array([255, 0, 255])
    return {
        thing.id: (np.asarray(render.alone(scene, thing)).astype(int) != blank).any(axis=2)
        for thing in scene.things
    }


@pytest.mark.parametrize("shifts", [(), ("crowded",), ("small",)])
def test_boxes_are_tight_and_things_stay_visible(shifts):
    scenes = [s for s in draw.scenes(8, 60, shifts) if s.split == "test"]
    seen = 0
    for scene in scenes:
        alone = masks(scene)
        for thing in scene.things:
            ys, xs = np.nonzero(alone[thing.id])
            found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert max(abs(a - b) for a, b in zip(found, thing.box, strict=True)) <= 2
            assert thing.box[0] >= 0 and thing.box[2] <= scene.width
            assert all(-1 <= x <= scene.width and -1 <= y <= scene.height for x, y in thing.outline)
        covered = np.zeros((scene.height, scene.width), dtype=bool)
        for thing in sorted(scene.things, key=lambda t: -t.depth):
            mask = alone[thing.id]
            assert (mask & ~covered).sum() >= 0.5 * mask.sum(), (scene.id, thing.kind)
            covered |= mask
            seen += 1
    assert seen > 50


def one_thing(kind: str, colour: str, material: str, size: int = 96) -> tuple[Scene, Thing]:
    aspect = lore.KINDS[kind].aspect
    wide = min(80.0, 80 / aspect)
    box = (8.0, 8.0, 8 + wide, 8 + wide * aspect)
    thing = Thing(1, kind, colour, "large", material, box, (), 1)
    return Scene(1, "train", "park", False, "day", size, size, (thing,), ()), thing


@pytest.mark.parametrize("kind", [kind for kind in lore.KINDS if kind != "person"])
def test_the_colour_of_a_thing_is_its_commonest_paint(kind):
    for colour in ("red", "blue", "purple"):
        scene, thing = one_thing(kind, colour, "plain")
        pixels = np.asarray(render.alone(scene, thing)).reshape(-1, 3).astype(int)
        pixels = pixels[(pixels != [255, 0, 255]).any(axis=1)]
        own = np.array(list(render.colours_of(colour).values()))
        others = np.array([paint for paint in render.PAINTS.values()])
        near_own = np.abs(pixels[:, None] - own).sum(axis=2).min(axis=1) < 40
        counts = [(np.abs(pixels - paint).sum(axis=1) < 40).sum() for paint in others]
        assert near_own.sum() > max(counts) and near_own.mean() > 0.3, (kind, colour)


def test_kinds_and_materials_can_be_told_apart_at_96_pixels():
    pictures = {
        (kind, material): np.asarray(
            render.picture(one_thing(kind, "red", material)[0]).resize((48, 48))
        ).astype(int)
        for kind in lore.KINDS
        if kind != "person"
        for material in lore.MATERIALS
    }
    for one, other in combinations(pictures, 2):
        difference = np.abs(pictures[one] - pictures[other]).sum(axis=2) > 60
        assert difference.mean() > 0.012, (one, other)


def looks_like(thing: Thing, words: str) -> bool:
    """Whether the words, read by themselves, fit a thing: noun, colour, surface, size, hair."""
    noun = wording.noun(thing)
    body = thing.person
    if body:
        fits = [
            words.startswith((noun, f"{body.mood} {noun}")),
            not (found := re.search(r"with (\w+) hair", words)) or found[1] == body.hair,
            not (found := re.search(r"in the (\w+) shirt", words)) or found[1] == body.shirt,
        ]
        return all(fits)
    if found := re.search(r"^(.+) that says (\w+)$", words):
        return noun == found[1] and thing.text == found[2]
    if not words.endswith(noun):
        return False
    own = {thing.colour, thing.size, thing.material}
    return set(words.removesuffix(noun).split()) <= own


def named(scene: Scene, words: str) -> list[Thing]:
    """Everything in the scene that an expression may mean, by rules of this test alone."""
    relation = re.match(
        r"^(.+?) (to the left of|to the right of|above|below|near|on) the (.+)$", words
    )
    if relation and relation[3] not in ("left", "right"):
        anchors = [t for t in scene.things if looks_like(t, relation[3])]
        assert len(anchors) == 1, words
        pairs = {(r.subject, r.object) for r in scene.relations if r.name == relation[2]}
        return [
            t for t in scene.things
            if looks_like(t, relation[1]) and (t.id, anchors[0].id) in pairs
        ]  # fmt: skip
    if side := re.match(r"^(left|right) (.+)$|^(.+) (?:on the|in the) (left|right|middle)$", words):
        way, noun = side[1] or side[4], side[2] or side[3]
        rivals = sorted((t for t in scene.things if wording.noun(t) == noun), key=lambda t: t.box)
        rivals.sort(key=lambda t: t.centre[0])
        at = {"left": 0, "right": -1, "middle": len(rivals) // 2}[way]
        assert way != "middle" or len(rivals) == 3
        return [rivals[at]]
    return [t for t in scene.things if looks_like(t, words)]


@pytest.mark.parametrize("shifts", [(), ("crowded", "colours")])
def test_an_expression_names_one_thing_and_no_other(shifts):
    kinds = Counter()
    for scene in draw.scenes(11, 80, shifts):
        for thing in scene.things:
            for reference in wording.references(scene, thing):
                if reference.by != "action":
                    assert named(scene, reference.text) == [thing], (scene.id, reference)
                kinds[reference.by] += 1
            if not wording.references(scene, thing):
                kinds["none"] += 1
    assert min(kinds[by] for by in ("noun", "look", "size", "side", "relation", "action")) > 20
    assert kinds["none"] < 0.02 * kinds["look"]


def test_an_action_names_one_person():
    for scene in draw.scenes(12, 120):
        for thing in scene.people:
            for reference in wording.references(scene, thing):
                if reference.by == "action":
                    same = [
                        t for t in scene.people
                        if (t.person.gender, t.person.action)
                        == (thing.person.gender, thing.person.action)
                    ]  # fmt: skip
                    assert same == [thing]


def test_captions_differ_and_name_only_what_is_there():
    world = world_data.small_world(100)
    nouns = {wording.plural(kind): kind for kind in lore.KINDS} | {
        kind: kind for kind in lore.KINDS
    }
    longest = sorted(nouns, key=len, reverse=True)
    for scene in world.scenes:
        captions = wording.captions(scene, world.draw("test", scene.id), 5)
        assert len(set(captions)) == 5
        for text in captions:
            said = re.findall(rf"\b(?:{'|'.join(longest)})\b", text)
            assert {nouns[word] for word in said} <= {thing.kind for thing in scene.things}, text
            for count, noun in re.findall(
                r"\b(two|three|four|five) ([a-z ]+?)(?:,| and| in| on)", text
            ):
                number = len([t for t in scene.things if wording.plural(wording.noun(t)) == noun])
                assert ("two", "three", "four", "five")[number - 2] == count, text
            if re.search("night|during the day", text):
                assert ("night" in text) == (scene.time == "night")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a dog", "two cats", "an apple"]), min_size=1, max_size=5))
def test_a_list_reads_as_a_list(items):
    text = wording.listing(items)
    assert text.count(" and ") == (len(items) > 1)
    assert re.split(", | and ", text) == items


def test_plurals_and_articles():
    assert [wording.counted(n, "bench") for n in (0, 1, 2)] == [
        "no benches",
        "a bench",
        "two benches",
    ]
    assert wording.article("orange bus") == "an orange bus"
    assert wording.plural("woman") == "women" and wording.plural("sports ball") == "sports balls"
    assert wording.sentence("is it red?") == "Is it red?"


def test_clips_change_their_subject_as_the_event_says():
    clips = world_data.small_world(400).clips
    assert len(clips) == 20 and {clip.split for clip in clips} == {"train", "test"}
    for clip in draw_many_clips():
        boxes = [
            next((t.box for t in frame.things if t.id == clip.subject), None)
            for frame in clip.frames
        ]
        assert len(boxes) == 8 and clip.event in lore.EVENTS
        first, last = boxes[0], boxes[-1]
        if clip.event == "appears":
            assert first is None and last is not None
        elif clip.event == "disappears":
            assert first is not None and last is None
        else:
            change = {
                "moves left": first[0] - last[0],
                "moves right": last[0] - first[0],
                "rises": first[1] - last[1],
                "falls": last[1] - first[1],
                "grows": (last[2] - last[0]) - 1.5 * (first[2] - first[0]),
                "shrinks": (first[2] - first[0]) - 1.5 * (last[2] - last[0]),
            }[clip.event]
            assert change > 5
        still = [{t.id: t for t in frame.things if t.id != clip.subject} for frame in clip.frames]
        assert all(frame == still[0] for frame in still)


def draw_many_clips():
    from harness.world.clips import clips

    found = clips(2, 40)
    assert {clip.event for clip in found} == set(lore.EVENTS)
    return found


@pytest.mark.parametrize(
    ("count", "shifts", "size", "words"),
    [
        (5, (), (320, 240), "at least 20 scenes"),
        (20, ("colour",), (320, 240), "did you mean colours"),
        (20, (), (60, 240), "120 to 2,000 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(count, shifts, size, words):
    with pytest.raises(UsageError, match=words):
        build.draw_world(Path("nowhere"), count, 0, shifts, size)


def test_other_sizes_of_pictures_work():
    for wide, high in ((224, 224), (640, 480)):
        for scene in draw.scenes(5, 10, (), (wide, high)):
            assert render.picture(scene).size == (wide, high)
            assert all(t.box[2] <= wide and t.box[3] <= high for t in scene.things)
