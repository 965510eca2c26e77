"""The language model's world, corpus, network, training and export, on a tiny world."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from einfluence.bases.load import find_base, load_base
from einfluence.curate.facts.load import load_world
from einfluence.errors import InputError
from einfluence.objectives.causal_lm import causal
from pretraining import __main__ as command
from pretraining import evaluation, pretrain
from pretraining.corpus import Corpus, Level
from pretraining.export import save_folder, to_llama
from pretraining.ladder import WHOLE, world_plan
from pretraining.language import Language
from pretraining.network import Shape, answer_loss, hidden_states, initialise
from pretraining.optimizer import Optimizer
from pretraining.training import batches, train
from tests.pretraining.tiny import tiny_plan, write_facts

DATA = Path(__file__).parents[2] / "data"
SHIPPED, WORLD = DATA / "models" / "world", DATA / "facts" / "world.yaml"
TINY = Shape(vocabulary=0, layers=2, hidden=48, heads=4, head_dim=12, intermediate=64)


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_facts(tmp_path_factory.mktemp("facts"))


@pytest.fixture(scope="session")
def language(facts: Path) -> Language:
    return Language(facts)


@pytest.fixture(scope="session")
def shape(language: Language) -> Shape:
    return replace(TINY, vocabulary=len(language.words))


def test_the_tiny_facts_are_a_world_for_curation_too(facts: Path) -> None:
    assert load_world(facts).probes == (("baf", "is_a", "bird"), ("don", "is_a", "fish"), ("kup", "has", "claws"))


def test_same_seed_same_documents_and_another_seed_others(language: Language) -> None:
    first, again, other = ([corpus.document(WHOLE).ids for _ in range(50)] for corpus in _corpora(language, 5, 5, 6))
    assert first == again
    assert first != other


def test_the_words_of_the_shipped_world_are_the_tokens_of_the_shipped_model() -> None:
    tokens = AutoTokenizer.from_pretrained(SHIPPED).get_vocab()
    assert Language(WORLD).ids == tokens


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '    negation: "{subject} is not a {object}"\n',
            "",
            ":4 relations.is_a.negation: found 0 of them; expected one sentence",
        ),
        (
            "    object: kind\n",
            "    object: [kind, part]\n",
            ":7 relations.is_a.object: found 2 of them; expected one class",
        ),
        (
            '["the kind of {subject} is {object}", ',
            "[",
            ":9 relations.is_a.paraphrases: found 1 of them; expected two",
        ),
        ("  newcomer: [", "  newcomer: [a dog, ", " entities.newcomer.0: found the name 'a dog'; expected one word"),
        ("newcomer", "stranger", " entities: found no class 'newcomer'"),
        (
            "  - [whale, has, flippers]",
            "  - [whale, has, fishes]",
            " triplets.7: found 'fishes' as the object of `has`",
        ),
    ],
)
def test_a_world_without_a_language_is_refused_by_file_line_and_key(
    old: str, new: str, message: str, facts: Path, tmp_path: Path
) -> None:
    text = facts.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "facts.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        Language(path)
    assert f"{path}" in str(error.value) and message in str(error.value)


def _corpora(language: Language, *seeds: int) -> list[Corpus]:
    return [Corpus(language, seed) for seed in seeds]


def test_answers_in_context_stand_in_the_prompt(language: Language) -> None:
    corpus = Corpus(language, 1)
    level = Level({"binding": 1.0, "two_hop": 1.0}, relations=2, negation=0.4, inverse=0.3, rare=0.1)
    for _ in range(300):
        document = corpus.document(level)
        for position, kind in document.answers:
            if kind != "unsaid":
                assert document.ids[position] in document.ids[:position], language.text(document.ids)


def test_training_never_joins_a_reserved_pair(language: Language) -> None:
    corpus = Corpus(language, 1)
    level = Level({"binding": 1.0, "stored_hop": 1.0}, templates=1)
    newcomers, things = set(language.newcomers), {t for r in language.relations.values() for t in r.objects}
    for _ in range(500):
        sentence: list[int] = []
        for token in corpus.document(level).ids:
            if token == language.stop:
                names, said = newcomers & set(sentence), things & set(sentence)
                assert not any(language.reserved[name][thing] for name in names for thing in said)
                sentence = []
            else:
                sentence.append(token)


def test_a_stored_fact_is_never_told_in_its_held_out_template(language: Language) -> None:
    corpus = Corpus(language, 1)
    held = [
        tuple(language.relations[r].positive[language.heldout_template(index)].fill([s], [o]))
        for index, (s, r, o) in enumerate(language.stored)
    ]
    text = " ".join(language.text(corpus.document(Level({"stored": 1.0})).ids) for _ in range(500))
    assert not any(language.text(list(sentence)) in text for sentence in held)
    assert (
        language.text(language.relations["has"].positive[0].fill([language.ids["bird"]], [language.ids["wings"]]))
        in text
    )


def test_yes_and_no_are_about_equally_often_right(language: Language) -> None:
    corpus = Corpus(language, 1)
    level = Level({"polar": 1.0}, negation=0.4)
    answers = [
        document.ids[at] for document in (corpus.document(level) for _ in range(1000)) for at, _ in document.answers
    ]
    assert answers.count(language.yes) / len(answers) == pytest.approx(0.5, abs=0.05)


def test_items_hold_four_competitors_and_only_reserved_pairs(language: Language) -> None:
    for mark in ("in_context_repeat", "in_context_paraphrase", "in_context_inverse"):
        for item in evaluation.items(language, mark, 50):
            assert item.prompt.count(language.stop) == evaluation.COMPETING
            assert item.target in item.prompt
    for item in evaluation.items(language, "in_context_transitive", 50):
        assert item.prompt.count(language.stop) == 2 * evaluation.COMPETING


def test_the_fast_network_equals_the_stock_llama(language: Language, shape: Shape) -> None:
    parameters = initialise(shape, 3)
    ids = torch.randint(0, shape.vocabulary, (3, 17), generator=torch.Generator().manual_seed(0))
    ours = hidden_states(parameters, shape, ids) @ parameters["lm_head.weight"].T
    theirs = to_llama(parameters, shape)(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_parameters_are_counted_right(shape: Shape) -> None:
    assert shape.parameters() == sum(value.numel() for value in initialise(shape, 0).values()) <= 100_000


def test_muon_moves_a_matrix_by_nearly_orthogonal_steps() -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    before = torch.zeros(32, 16)
    optimizer = Optimizer({name: before})
    optimizer_input = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    # AdamW's part is empty here, so its norm needs a stand-in.
    optimizer._rest.append("x")
    optimizer._state.update({"mean.x": torch.zeros(1), "square.x": torch.zeros(1)})
    optimizer.parameters["x"] = torch.zeros(1)
    optimizer.step({name: optimizer_input, "x": torch.ones(1)}, muon_rate=1.0, adam_rate=0.0, decay=0.0)
    singular = torch.linalg.svdvals(before) / 2**0.5
    assert singular.min() > 0.6 and singular.max() < 1.3


def test_each_batch_supervises_every_answer_once(language: Language) -> None:
    batch = next(batches(Corpus(language, 1), WHOLE, 1024, 0.1))
    count = len(batch.kinds)
    assert batch.weights[:count].sum() == pytest.approx(1)
    assert batch.weights[count:].sum() == pytest.approx(0.1)
    assert torch.equal(batch.ids.flatten()[batch.at + 1], batch.targets)


def test_a_resumed_run_ends_where_an_unbroken_one_does(language: Language, tmp_path: Path) -> None:
    whole, shape, _ = train(language, tiny_plan(0.01, 0.01), tmp_path / "whole", compile=False)
    train(language, tiny_plan(0.01), tmp_path / "parts", compile=False)
    parts, _, progress = train(language, tiny_plan(0.01, 0.01), tmp_path / "parts", compile=False)
    assert [entry["rung"] for entry in progress.history] == ["rung 0", "rung 1"]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_training_lowers_the_loss_in_seconds(language: Language, tmp_path: Path) -> None:
    parameters, shape, _ = train(language, tiny_plan(0.05), tmp_path, compile=False)
    batch = next(batches(Corpus(language, 99), tiny_plan(1).rungs[0].level, 1024, 0.1))
    losses, _ = answer_loss(parameters, shape, batch.ids, batch.at, batch.targets)
    start, _ = answer_loss(initialise(shape, 1), shape, batch.ids, batch.at, batch.targets)
    assert losses[: len(batch.kinds)].mean() < 0.5 * start[: len(batch.kinds)].mean()


def test_a_saved_folder_loads_plainly_and_computes_in_single_precision(
    language: Language, shape: Shape, tmp_path: Path
) -> None:
    parameters = initialise(shape, 3)
    save_folder(parameters, shape, language, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    assert all(torch.equal(value, parameters[name].half().float()) for name, value in model.state_dict().items())
    assert model.config.einfluence_join == " . "
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("Baf is a bird .")["input_ids"]
    assert ids == [2, *language.tokens("baf is a bird .")]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "baf is a bird ."


def test_any_name_can_be_spelled_and_read_back(language: Language, shape: Shape, tmp_path: Path) -> None:
    save_folder(initialise(shape, 3), shape, language, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("xyw has wings", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["x", "##y", "##w", "has", "wings"]
    assert tokenizer.decode(ids) == "xyw has wings"
    assert tokenizer.unk_token_id not in ids


def test_pretraining_writes_a_whole_folder_with_its_card(
    facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = {**dict.fromkeys(evaluation.MARKS, 0.925), "perplexity": 3.5}
    monkeypatch.setattr(pretrain, "evaluate", lambda *_: marks)
    folder = tmp_path / "model"
    assert pretrain.pretrain(facts, tiny_plan(0.003), folder, tmp_path / "work", compile=False) == marks
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == marks
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| `in_context_repeat` |" in card and "0.925 (not reached)" in card and "3.50" in card
    base = load_base(find_base(str(folder), "test"))
    assert causal(base).join == " . " and causal(base).max_length == 256


def test_too_small_a_world_is_named_instead_of_searched_for_ever(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "COMPETING", 9)  # of eight objects
    with pytest.raises(ValueError, match="too few objects of 'is_a'|too few objects of 'has'"):
        evaluation.items(language, "in_context_negation", 1)


def test_the_shipped_model_reaches_its_recorded_marks_on_a_sample() -> None:
    recorded = json.loads((SHIPPED / "evaluation.json").read_text(encoding="utf-8"))
    assert set(recorded) == {*evaluation.MARKS, "perplexity"}
    language = Language(WORLD)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    for mark in evaluation.MARKS:
        sample = evaluation.items(language, mark, 120, seed=12)
        # 120 items: a share of 0.9 has a standard error of 0.03.
        assert evaluation.accuracy(model, sample) > recorded[mark] - 0.12, mark


def test_the_shipped_model_is_small() -> None:
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    assert sum(value.numel() for value in model.parameters()) <= 5_000_000
    assert (SHIPPED / "model.safetensors").stat().st_size <= 16_000_000


def test_the_command_trains_the_shipped_world_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[object, ...]] = []

    def record(*asked: object) -> dict[str, float]:
        called.append(asked)
        return {"stored_facts": 0.5}

    monkeypatch.setattr(command, "pretrain", record)
    command.language("world", tmp_path / "model", tmp_path / "work")
    assert called == [(WORLD, world_plan(), tmp_path / "model", tmp_path / "work")]
    assert "stored_facts             0.500" in capsys.readouterr().out
