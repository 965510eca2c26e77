"""Causal language models: the log-probability of a text's target behind its prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from einfluence.errors import InputError
from einfluence.joint import gap
from einfluence.models.base import Base, BaseInfo, Batch, Bos, Capability, Tokens
from einfluence.models.kinds import CAUSAL, refuse_other_tasks, refuse_quantised
from einfluence.objectives.chat import ChatTemplate
from einfluence.objectives.encoders import logits_at
from einfluence.objectives.heads import output_layer
from einfluence.objectives.tokenizing import bodies_of, check_known, check_length, ids_of, opening_of
from einfluence.samples import CAUSAL_LM, Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float


@dataclass(frozen=True)
class TextItem:
    """An encoded text sample.

    Args:
        ids: Token ids of prompt and target together, beginning-of-text token included where the model has one.
        n_target: How many of the last ids are the target (>= 1 and < len(ids)): loss and log-prob are over these.
    """

    ids: tuple[int, ...]
    n_target: int

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.ids)


@dataclass(frozen=True)
class CausalLM:
    """The objective of a causal language model.

    Args:
        tokenizer: Its tokenizer.
        max_length: The longest text in tokens that the model takes; None where it has no limit.
        vocabulary: How many token ids the model can read and say; None where that is not known.
        join: What stands between a probe and a query in the same prompt, by default.
        bos: How texts begin.
        label: What error messages call the base.
    """

    name: ClassVar[str] = CAUSAL_LM
    modality: ClassVar[str] = "text"
    can: ClassVar[frozenset[Capability]] = frozenset(("causal text", "prompt"))

    tokenizer: Any = None
    max_length: int | None = None
    vocabulary: int | None = None
    join: str = "\n"
    bos: Bos = "auto"
    label: str = "the base"

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """Whatever no other objective claims, so that :meth:`check` says what is wrong with it."""
        return config.get("modality", "text") == "text"

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """Whatever a tokenizer may be made of."""
        return ("*",)

    @classmethod
    def check(cls, folder: Path, config: Mapping[str, Any]) -> None:
        """Refuses quantised weights and models of other tasks."""
        refuse_quantised(folder, config)
        refuse_other_tasks(folder, config)

    @classmethod
    def load(cls, info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
        """A model of transformers and its tokenizer."""
        from einfluence.models import loaded
        from einfluence.objectives.pretrained import load_texts, quiet

        auto, what = "AutoModelForCausalLM", "a language model"
        with quiet():
            model, tokenizer = load_texts(info, auto, trust_remote_code, device, what=what, expected=CAUSAL)
            loaded.try_text(model, info.label)
        limits = loaded.context_length(model), loaded.vocabulary(model)
        join = str(getattr(model.config, "einfluence_join", "\n"))
        return Base(info, model, cls(tokenizer, *limits, join, info.bos, info.label))

    def encode(self, sample: Sample, where: str) -> TextItem:
        """Token ids of prompt and target; see :func:`encode_text`."""
        return self.encode_all([sample], [where])[0]

    def encode_all(self, samples: Sequence[Sample], wheres: Sequence[str]) -> list[TextItem]:
        """As :meth:`encode`, of samples that are tokenized together."""
        return self.encode_texts([(sample.prompt, sample.target, sample.gap) for sample in samples], wheres)

    def encode_texts(
        self, texts: Sequence[tuple[str, str, str | None]], wheres: Sequence[str], bos: Bos | None = None
    ) -> list[TextItem]:
        """As :func:`encode_text`, of several (prompt, target, join)."""
        whole = [joined(*each) for each in texts]
        bodies = bodies_of(self.tokenizer, whole)
        rows = zip(texts, whole, bodies, wheres, strict=True)
        return [self._item(target, text, *body, where, bos or self.bos) for (_, target, _), text, body, where in rows]

    def _item(
        self, target: str, whole: tuple[str, int], body: list[int], n_target: int, where: str, bos: Bos
    ) -> TextItem:
        text, start = whole
        if n_target == 0:
            raise InputError(
                where,
                f"the target {target!r:.60}, which the tokenizer turns into nothing",
                "a target of at least one token",
            )
        bare = start == 0 or n_target == len(body)
        ids = (*opening_of(self.tokenizer, text, body, bare, bos, where), *body)
        fix = "shorten the prompt or take a base with a longer context"
        check_length(self.max_length, ids, where, fix=fix)
        check_known(self.tokenizer, self.vocabulary, ids, self.label, where)
        return TextItem(ids, n_target)

    def tokens(self, item: TextItem) -> Tokens:
        """The prompt with what texts begin with, and the target."""
        return Tokens(self.tokenizer, item.ids[: -item.n_target], behind=item.ids[-item.n_target :])

    def collate(self, items: Sequence[TextItem]) -> Batch:
        """Texts (B, L), padded on the right, where no token before sees it; an attention mask where any is."""
        import torch

        width, most = max(len(item.ids) for item in items), max(item.n_target for item in items)
        lengths = torch.tensor([[len(item.ids)] for item in items])
        counts = torch.arange(most)[None] < torch.tensor([[item.n_target] for item in items])
        starts = lengths - torch.tensor([[item.n_target] for item in items])
        ids = torch.tensor([[*item.ids, *[0] * (width - len(item.ids))] for item in items])
        places = torch.where(counts, starts + torch.arange(most) - 1, 0)
        targets = torch.where(counts, ids.gather(1, torch.where(counts, places + 1, 0)), 0)
        inputs = {"input_ids": ids}
        if bool((lengths < width).any()):
            inputs["attention_mask"] = (torch.arange(width)[None] < lengths).long()
        return Batch(inputs, places, targets, counts)

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B T classes"]:
        """(B, T, vocabulary)."""
        return logits_at(partial(call, use_cache=False), batch.inputs, batch.places)

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """What transformers calls the output embeddings, else the last Linear."""
        return output_layer(model)

    def curation(self) -> Mapping[str, Any]:
        """How texts are tokenized, and what the model cannot read."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        specials = {*self.tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}

        chat = ChatTemplate(self.tokenizer, self.label)

        return {
            "tokenize": partial(ids_of, self.tokenizer),
            "max_tokens": self.max_length,
            "specials": specials,
            "chat": chat,
        }


def causal(base: Base) -> CausalLM:
    """The objective of a base that can do `causal text`."""
    return cast("CausalLM", base.objective)


def joined(prompt: str, target: str, join: str | None = None) -> tuple[str, int]:
    """Puts prompt and target together; what stands between them without ``join`` says :mod:`einfluence.joint`.

    Returns:
        The text, and the index of the first character that belongs to the target.
    """
    between = gap(prompt, target, join)
    return prompt + between + target, len(prompt) + len(between)


def encode_text(
    base: Base, prompt: str, target: str, where: str, *, join: str | None = None, bos: Bos | None = None
) -> TextItem:
    """Tokenizes prompt and target as one text; the target's tokens are those that reach into its characters.

    How the text begins: with the tokenizer's own beginning-of-text tokens (its closing ones are dropped), and only
    once, so a text that writes that token itself is given no second. A tokenizer that adds none gives one (its bos,
    else its eos) to texts without a prompt, so that the first target token has something to be predicted from; to
    every text under ``bos: always``. Under ``bos: never`` none is added.

    Args:
        base: A text base with its tokenizer.
        prompt: May be empty.
        target: The text that is scored.
        where: What error messages call this sample.
        join: What stands between prompt and target; None takes the rule.
        bos: How the text begins; None as the base says.

    Raises:
        InputError: When the target has no token, the text is longer than the model's context, there is nothing to
            begin a text without a prompt with, or the tokenizer makes tokens that the model does not have.
    """
    return causal(base).encode_texts([(prompt, target, join)], [where], bos)[0]
