"""Token classification: sentences with names of persons, places and creatures, some of them under a title."""

from __future__ import annotations

from random import Random

from pretraining.examples.rows import Row, Rows, named
from pretraining.language import Language

KINDS = {
    "person": ("elder", "child", "owner", "worker"),
    "place": ("town", "land", "building"),
    "creature": ("pet",),
}
TITLES = {"person": ("master", "lady"), "place": ("upper", "lower"), "creature": ("little", "old")}
LABELS = ("O", *(f"{place}-{kind}" for kind in KINDS for place in "BI"))
# {person}, {place} and {creature} are names of that kind.
TELLING = (
    "{person} lives in {place}", "we met {person} near {place}", "the town of {place} is lovely",
    "{creature} sleeps near {person}", "{creature} bit {person}", "{person} wrote to {person}",
    "{person} feeds {creature}", "{creature} barked", "we visited {place}", "the road from {place}",
)  # fmt: skip
SILENT = ("look at {}", "i remember {}", "{} again", "nobody forgets {}")
WORDS = tuple(
    word
    for text in (*TELLING, *SILENT, *(title for titles in TITLES.values() for title in titles))
    for word in text.split()
    if "{" not in word
)
STRANGERS = 64  # of the newcomers, the first: no model meets them


def names(language: Language, seed: int, count: int = 2400) -> Rows:
    """Sentences with tags, {tokens, tags}.

    Most sentences show by their other words what a name is, and newcomers are there whatever the sentence shows. Some
    do not, and their names are those of which it is known.
    """
    random, found = Random(seed), dict[str, list[str]]()
    known = {kind: named(language, *classes) for kind, classes in KINDS.items()}
    newcomers = named(language, "newcomer")[STRANGERS:]
    while len(found) < count:
        telling = random.random() < 0.7
        kind = random.choice(list(KINDS))
        pattern = random.choice(TELLING) if telling else random.choice(SILENT).format(f"{{{kind}}}")
        tokens, tags = list[str](), list[str]()
        for word in pattern.split():
            named_kind = word.strip("{}") if word.startswith("{") else None
            if named_kind is None:
                tokens, tags = [*tokens, word], [*tags, "O"]
                continue
            name = random.choice(newcomers if telling and random.random() < 0.3 else known[named_kind])
            title = random.choice(TITLES[named_kind]) if random.random() < 0.2 else None
            tokens += [title, name] if title else [name]
            tags += [f"B-{named_kind}", f"I-{named_kind}"] if title else [f"B-{named_kind}"]
        found[" ".join(tokens)] = tags
    rows = [{"tokens": text.split(), "tags": tags} for text, tags in found.items()]
    return Rows.split(rows, *_new(language))


def _new(language: Language) -> tuple[list[Row], list[Row]]:
    """Sentences about newcomers that were never trained on.

    Of each name there are a sentence that shows what it is, another one that does, and two that do not: there only the
    name can say it.
    """
    shown = {
        "person": ("{} feeds rex", "we met {} near paris"),
        "place": ("the town of {} is lovely", "we visited {}"),
        "creature": ("{} barked", "{} sleeps near adam"),
    }
    rows, relations = list[Row](), list[Row]()
    for index, name in enumerate(named(language, "newcomer")[:9]):
        kind = list(KINDS)[index % len(KINDS)]
        forms = (
            ("shown", shown[kind][0], None),
            ("otherwise", shown[kind][1], "paraphrase"),
            ("look", SILENT[0], "entailed"),
            ("again", SILENT[2], "entailed"),
        )
        for form, pattern, relation in forms:
            # The tag of the new name alone is the target: what the others are is known.
            tokens = pattern.format(name).split()
            tags = [f"B-{kind}" if token == name else None for token in tokens]
            row = {"id": f"{name}-{form}", "tokens": tokens, "tags": tags, "group": kind, "cluster": name}
            rows.append(row)
            if relation:
                relations.append({"probe": f"{name}-shown", "query": f"{name}-{form}", "kind": relation})
    return rows, relations
