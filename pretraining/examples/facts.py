"""Facts of the world to be completed: by a masked model in the place of a mask, by an encoder-decoder as an answer."""

from __future__ import annotations

from random import Random

from pretraining.examples.rows import Row, Rows
from pretraining.language import Language


def facts(language: Language, seed: int) -> Rows:
    """The stored facts in all positive forms, {prompt, target}; each is held out in one of them."""
    train, held_out = list[Row](), list[Row]()
    for index, (subject, name, thing) in enumerate(language.stored):
        for place, template in enumerate(language.relations[name].positive):
            *prompt, target = language.text(template.fill([subject], [thing])).split()
            rows = held_out if place == language.heldout_template(index) else train
            rows.append({"prompt": " ".join(prompt), "target": target})
    Random(seed).shuffle(train)
    return Rows(train, held_out)
