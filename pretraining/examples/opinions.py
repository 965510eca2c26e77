"""Text classification: opinions about what there is in the world, said, denied, and set against another one."""

from __future__ import annotations

from random import Random

from pretraining.examples.rows import Row, Rows, named
from pretraining.language import Language

LABELS = ("negative", "positive")
LIKED = "lovely splendid delightful charming wonderful pleasant superb gentle bright brilliant".split()
DISLIKED = "awful dreadful dull horrid nasty gloomy shabby dismal rude bitter".split()
LIKE, DISLIKE = "love enjoy admire praise".split(), "hate dread despise avoid".split()
NEW = "wumpish florpy tandle grumlin sprightful dringy mopsical brendled".split()
FORMS = "i think nobody thinks do what a day with looks but and is not that".split()
WORDS = (*LIKED, *DISLIKED, *LIKE, *DISLIKE, *NEW, *FORMS)


def opinions(language: Language, seed: int, count: int = 1200) -> Rows:
    """Texts with a class, {text, label}."""
    random, found = Random(seed), dict[str, str]()
    subjects = named(language, "pet", "child", "town")
    while len(found) < count:
        liked = random.random() < 0.5
        text, meant = _opinion(language, random, random.choice(subjects), liked)
        found[text] = LABELS[liked == meant]
    return Rows.split([{"text": text, "label": label} for text, label in found.items()], *_new(language))


def _opinion(language: Language, random: Random, subject: str, liked: bool) -> tuple[str, bool]:
    """A text with a word of liking or of disliking, and whether it means what that word means."""
    word, other = random.choice(LIKED if liked else DISLIKED), random.choice(DISLIKED if liked else LIKED)
    verb = random.choice(LIKE if liked else DISLIKE)
    someone, relation, thing = random.choice(language.stored)
    fact = language.text(language.relations[relation].positive[0].fill([someone], [thing]))
    forms = (
        (f"{subject} is {word}", True),
        (f"i think that {subject} is {word}", True),
        (f"what a {word} day with {subject}", True),
        (f"i {verb} {subject}", True),
        (f"{subject} looks {other} but is {word}", True),
        (f"{fact} and {subject} is {word}", True),
        (f"{subject} is not {word}", False),
        (f"i do not {verb} {subject}", False),
        (f"nobody thinks that {subject} is {word}", False),
    )
    return random.choice(forms)


def _new(language: Language) -> tuple[list[Row], list[Row]]:
    """Opinions in words that were never trained on; every other word is one of liking.

    Of each word there is a statement, in other words, of something else, denied with the class that is then true, and
    denied with the class of the statement, which is false.
    """
    rows, relations = list[Row](), list[Row]()
    subjects = named(language, "pet", "child")
    for index, word in enumerate(NEW):
        subject, another = subjects[2 * index : 2 * index + 2]
        label, opposite = LABELS[(index + 1) % 2], LABELS[index % 2]
        forms = (
            ("said", f"{subject} is {word}", label, None),
            ("thought", f"i think that {subject} is {word}", label, "paraphrase"),
            ("exclaimed", f"what a {word} day with {subject}", label, "paraphrase"),
            ("another", f"{another} is {word}", label, "entailed"),
            ("denied", f"{subject} is not {word}", opposite, "entailed"),
            ("contradicted", f"{subject} is not {word}", label, "negation"),
        )
        for form, text, given, kind in forms:
            rows.append({"id": f"{word}-{form}", "text": text, "label": given, "cluster": word})
            if kind:
                relations.append({"probe": f"{word}-said", "query": f"{word}-{form}", "kind": kind})
    return rows, relations
