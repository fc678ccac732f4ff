"""What common sense says about things and words, for the formats that ask beyond the visible.

Tables only, in small words. `{thing}` stands for a noun phrase with its article. Sherlock's
inferences, LLaVA-Bench's complex questions and the reasoning records of the training data come
from here. Imports harness.world.lore.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.world.lore import KINDS


@dataclass(frozen=True, slots=True)
class Sense:
    """What everybody knows about a kind of thing."""

    use: str
    """What it is for, a short phrase that answers "What is it used for?"; empty: no such use."""
    inferences: tuple[str, str]
    """What may be concluded from one being there."""


SENSE: Mapping[str, Sense] = {
    "bicycle": Sense("riding", ("somebody rode {thing} here", "the owner of {thing} is nearby")),
    "car": Sense("driving", ("somebody drove here in {thing}", "{thing} needs fuel to go on")),
    "bus": Sense("taking people along", ("people ride in {thing}", "{thing} stops for passengers")),
    "boat": Sense("crossing water", ("somebody fishes from {thing}", "{thing} was on the water")),
    "traffic light": Sense(
        "telling cars when to stop",
        ("{thing} tells drivers when to go", "there is traffic near {thing}"),
    ),
    "stop sign": Sense(
        "making drivers stop",
        ("drivers have to stop at {thing}", "there is a crossing near {thing}"),
    ),
    "bench": Sense("sitting", ("people can rest on {thing}", "{thing} is for tired walkers")),
    "bird": Sense("", ("{thing} is looking for food", "{thing} has a nest nearby")),
    "cat": Sense("", ("somebody feeds {thing} every day", "{thing} likes to be stroked")),
    "dog": Sense("", ("somebody takes {thing} for walks", "{thing} has an owner nearby")),
    "horse": Sense("riding", ("people ride on {thing}", "{thing} lives on a farm nearby")),
    "umbrella": Sense(
        "keeping dry", ("somebody expects rain and has {thing}", "{thing} gives shade to somebody")
    ),
    "handbag": Sense(
        "carrying small things", ("there is a purse in {thing}", "somebody owns {thing}")
    ),
    "frisbee": Sense(
        "throwing", ("somebody likes to play with {thing}", "somebody is going to catch {thing}")
    ),
    "sports ball": Sense(
        "playing", ("children want to play with {thing}", "there is a match with {thing} today")
    ),
    "kite": Sense(
        "flying in the wind", ("there is enough wind for {thing}", "{thing} has a long line")
    ),
    "bottle": Sense(
        "holding a drink", ("there is a drink in {thing}", "somebody bought {thing} in a shop")
    ),
    "cup": Sense("drinking", ("somebody drinks from {thing}", "there is tea in {thing}")),
    "bowl": Sense("holding food", ("somebody eats from {thing}", "there is soup in {thing}")),
    "banana": Sense("eating", ("somebody is going to peel {thing}", "{thing} tastes sweet")),
    "apple": Sense("eating", ("{thing} grew on a tree", "{thing} is a healthy snack")),
    "pizza": Sense("eating", ("{thing} comes out of the oven", "somebody ordered {thing}")),
    "chair": Sense("sitting", ("somebody can sit down on {thing}", "{thing} belongs to a table")),
    "potted plant": Sense(
        "making a room nice", ("somebody waters {thing}", "{thing} needs light to grow")
    ),
    "bed": Sense("sleeping", ("somebody sleeps in {thing}", "{thing} is made for the night")),
    "laptop": Sense("working", ("somebody works on {thing}", "{thing} needs power")),
    "book": Sense("reading", ("somebody likes to read {thing}", "there is a story in {thing}")),
    "clock": Sense(
        "telling the time", ("people read the time from {thing}", "{thing} never stops")
    ),
    "teddy bear": Sense("cuddling", ("a child loves {thing}", "a child sleeps with {thing}")),
}
"""Every kind but the person, whose inferences come with the action (`lore.ACTIONS`)."""

MOODS: Mapping[str, str] = {
    "happy": "something good has happened to {thing}",
    "sad": "something bad has happened to {thing}",
    "surprised": "{thing} did not expect what happened",
}
"""What may be concluded from somebody's face."""

SIGNS: Mapping[str, str] = {
    "STOP": "one has to wait at {thing}",
    "OPEN": "one may come in at {thing}",
    "TAXI": "{thing} helps to get a ride",
    "CAFE": "{thing} leads to a hot drink",
    "ZOO": "{thing} is about animals",
    "SALE": "{thing} is about low prices",
    "EXIT": "{thing} shows the way out",
    "BANK": "{thing} is about money",
    "PARK": "{thing} is about trees and lawns",
    "HOTEL": "{thing} leads to a bed for the night",
}
"""What may be concluded from a word written on a thing."""

PLACES: Mapping[str, tuple[str, str]] = {
    "kitchen": ("people cook their meals here", "this is a part of somebody's home"),
    "office": ("people come here to work", "there is a meeting here now and then"),
    "bedroom": ("people sleep here at night", "somebody rests here after a long day"),
    "street": ("people pass here on their way to work", "one has to look out for cars here"),
    "park": ("people come here for fresh air", "children like to play here"),
    "beach": ("people go swimming here", "people spend their holidays here"),
}
"""What may be concluded from the place as a whole."""

FAMILIES: Mapping[str, str] = {
    "person": "a person",
    "vehicle": "a vehicle",
    "outdoor": "a street fixture",
    "animal": "an animal",
    "accessory": "an accessory",
    "sports": "a toy for outdoors",
    "kitchen": "a kitchen thing",
    "food": "food",
    "furniture": "furniture",
    "electronic": "a machine",
    "indoor": "a household thing",
}
"""How a sentence names a COCO supercategory."""


def usable() -> tuple[str, ...]:
    """Return the kinds with a use, in the order of `lore.KINDS`."""
    return tuple(kind for kind in KINDS if kind in SENSE and SENSE[kind].use)
