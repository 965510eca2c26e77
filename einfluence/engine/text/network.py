"""A causal LM made ready to run many probes at once, without a change to its code.

A structural copy shares the base's weights; on the copy, attention follows :mod:`einfluence.engine.text.attention`, and
what comes after the last attention is computed on the answer rows only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from einfluence.engine.contract import Unsupported
from einfluence.engine.structure import structure_of
from einfluence.engine.text.attention import NAME, PackedLayout, Stop, TextTable, use_layout

LINEAR = (nn.Linear, Conv1D)
PACKED = ("full_attention", "sliding_attention")  # kinds of layers whose texts may be laid end to end


@dataclass
class ForwardContext:
    """What the patched modules of a network follow during a forward pass.

    Args:
        rows: Flat positions in the batch whose logits are wanted; None for all.
        resume: What goes into the first block that differs from the base's, the blocks before it being left out; None
            runs all blocks.
        first: What the layers behind no adapter made of this batch without their own, by name; one for all where all
            probes read the same.
        same: Whether all probes read the same texts.
    """

    rows: Int[Tensor, " answers"] | None = None
    resume: Float[Tensor, "batch L hidden"] | None = None
    first: dict[str, Float[Tensor, "batch L _"]] = field(default_factory=dict[str, Tensor])
    same: bool = False


class Network:
    """A causal LM for batches of (probes, tokens of many texts end to end).

    Args:
        model: A Hugging Face causal LM; it is changed, so hand in a copy that shares the weights of ``origin``.
        origin: The model that it is a copy of.
        start: The first decoder block that may differ from the base's; those before it can be run once for all probes.
        context: What modules that were patched before follow.

    Attributes:
        packs: Whether texts can be laid end to end: the model looks its attention up in transformers' interface, and
            nothing but attention reaches from one token to another. Else a batch is (probes * rows, length), filled up
            on the right.
        start: As given; 0 where blocks cannot be left out.

    Raises:
        Unsupported: For a model whose tokens see those after them, so that no text can be filled up.
    """

    def __init__(
        self, model: nn.Module, origin: nn.Module, start: int = 0, context: ForwardContext | None = None
    ) -> None:
        self.model: Any = model
        self.origin, self.structure = origin, structure_of(origin)
        self.context = context or ForwardContext()
        first = next(model.parameters())
        self.device, self.itemsize = first.device, first.element_size()
        self.width: int = self.model.config.get_text_config().hidden_size
        for module in self.model.modules():
            # It looks into the ids at every forward pass, and for that a GPU would be waited for.
            if hasattr(module, "warn_if_padding_and_no_attention_mask"):
                module.warn_if_padding_and_no_attention_mask = _silent
        self.packs = self._adopt_attention()
        self.start = self._skip_below(start) if self.packs and start else 0
        self._patch_answer_rows()

    def logits(
        self,
        ids: Int[Tensor, "rows L"],
        positions: Int[Tensor, "_ L"] | None,
        layout: PackedLayout,
        answers: Int[Tensor, "B R"],
    ) -> Float[Tensor, "B*R vocabulary"]:
        """Runs B sequences and returns the logits at their ``answers``, flat positions of each.

        Where the model does not pack, the texts are as long as the layout's table is wide and become rows of the batch.
        """
        each = ids.numel() // len(answers)
        self.context.rows = (answers + torch.arange(len(answers), device=self.device)[:, None] * each).reshape(-1)
        given = {"position_ids": positions} if self.packs else {}
        ids = ids if self.packs else ids.reshape(-1, layout.tables[0].width)
        try:
            with use_layout(layout):
                out = self.model(input_ids=ids, use_cache=False, **given).logits
        finally:
            rows, self.context.rows = self.context.rows, None
        out = out.reshape(-1, out.shape[-1])
        return out if len(out) == len(rows) else out[rows]

    @torch.no_grad()
    def below(self, ids: Int[Tensor, "batch L"], positions: Int[Tensor, "_ L"] | None, layout: PackedLayout) -> Tensor:
        """What goes into block ``start``, the same for every probe: (batch, L, hidden)."""
        nowhere = torch.zeros((1, 1), dtype=torch.long, device=self.device)
        return entering(self.blocks[self.start], lambda: self.logits(ids, positions, layout, nowhere))

    def _skip_below(self, start: int) -> int:
        """Lets the first blocks be left out; returns ``start``, or 0 where that is not possible."""
        self.blocks = decoder_layers(self.model, self.origin)
        kinds: list[bool] = []
        hooks = [
            b.register_forward_hook(lambda _m, _a, out: kinds.append(isinstance(out, Tensor))) for b in self.blocks
        ]
        self._try()
        for hook in hooks:
            hook.remove()
        if len(kinds) != len(self.blocks) or not all(kinds) or start >= len(self.blocks):
            return 0
        plain = [block.forward for block in self.blocks]
        for block in self.blocks[:start]:
            patch(block, _left_out(self.context, block.forward))
        patch(self.blocks[start], _resumed(self.context, self.blocks[start].forward))
        self.start = start
        if start not in self.structure.resumes:
            self.structure.resumes[start] = self._resumes()
        if self.structure.resumes[start]:
            return start
        for block, forward in zip(self.blocks, plain, strict=True):
            patch(block, forward)
        return 0

    @torch.no_grad()
    def _resumes(self) -> bool:
        """Whether a text says the same when its lower blocks are left out; later ones may read more than the last."""
        ids = trial(self.origin)[:1].to(self.device)
        positions, layout = (
            torch.arange(ids.shape[1], device=self.device)[None],
            PackedLayout.of_rows(width=ids.shape[1]),
        )
        try:
            whole = self.logits(ids, positions, layout, positions)
            self.context.resume = self.below(ids, positions, layout)
            return close(self.logits(ids, positions, layout, positions), whole)
        except Exception:  # whatever a block misses, then it is not left out
            return False
        finally:
            self.context.resume = None

    def _adopt_attention(self) -> bool:
        """Has attention follow :mod:`einfluence.engine.text.attention` where that changes nothing a text says."""
        can = getattr(self.model, "_can_set_attn_implementation", lambda: False)()
        config = self.model.config.get_text_config()
        layers = getattr(config, "num_hidden_layers", None)
        kinds = getattr(config, "layer_types", None) or ()
        positions = "position_ids" in inspect.signature(self.model.forward).parameters
        may = can and positions and layers is not None and set(kinds) <= set(PACKED)
        known = self.structure.packs
        truth = self._apart() if known is None else torch.empty(0)
        if known is None and not close(truth[2, :-1], truth[0, :-1]):
            raise Unsupported(
                "base", f"{type(self.model).__name__}, whose tokens see those after them", "a causal model"
            )
        if may and known is not False:
            old = self.model.config._attn_implementation
            self.model.set_attn_implementation(NAME)
            known = known or self._follows(truth, cast("int", layers), kinds)
            if not known:
                self.model.set_attn_implementation(old)
        self.structure.packs = bool(may and known)
        return self.structure.packs

    @torch.no_grad()
    def _apart(self) -> Float[Tensor, "texts length vocabulary"]:
        """The logits of a few texts, each run alone."""
        ids = trial(self.origin).to(self.device)
        return torch.cat([self.model(input_ids=text[None], use_cache=False).logits for text in ids])

    @torch.no_grad()
    def _follows(self, truth: Tensor, layers: int, kinds: Sequence[str]) -> bool:
        """Whether a few texts say the same when they are laid end to end, and when two share their beginning."""
        ids = trial(self.origin).to(self.device)
        count, length = ids.shape
        at = torch.arange(length, device=self.device)
        beginning = torch.cat([ids[0], ids[1, SHARED:]])[None], torch.cat([at, at[SHARED:]])[None]
        shared = PackedLayout([TextTable(1, SHARED, 2, length - SHARED, torch.tensor([SHARED], device=self.device))])
        try:
            with use_layout(PackedLayout.of_rows(count, length)) as layout:
                packed = self.model(input_ids=ids.reshape(1, -1), position_ids=at.repeat(count)[None], use_cache=False)
            with use_layout(shared):
                after = self.model(input_ids=beginning[0], position_ids=beginning[1], use_cache=False)
        except Exception:  # masks of its own, and whatever else a model may ask for
            return False
        windows = sum(window is not None for window in layout.windows)
        agree = windows == sum(kind == "sliding_attention" for kind in kinds) if kinds else True
        once = len(layout.seen) == layers == len(set(layout.seen))
        rows = after.logits[0]
        return (
            once
            and agree
            and close(packed.logits.view(truth.shape), truth)
            and close(rows[:length], truth[0])
            and close(rows[length:], truth[1, SHARED:])
        )

    def forward_two_tokens(self, layout: PackedLayout | None = None) -> list[nn.Module]:
        """Runs two tokens; returns the attention modules in the order of their calls."""
        layout = layout or PackedLayout()
        ids = torch.zeros((1, 2), dtype=torch.long, device=self.device)
        with use_layout(layout):
            self.model(input_ids=ids, use_cache=False)
        return layout.seen

    @torch.no_grad()
    def _try(self, layout: PackedLayout | None = None) -> list[nn.Module]:
        return self.forward_two_tokens(layout)

    def _patch_answer_rows(self) -> None:
        """After the last attention positions are independent, so there only the answer rows are computed."""
        if self.structure.rows is False:
            return
        plain: dict[nn.Module, Callable[..., Any]] = {}
        head = self.model.get_output_embeddings()
        late = self._after_last_attention() if self.packs else set[nn.Module]()
        linears = {module for module in self.model.modules() if isinstance(module, LINEAR)}
        done: set[nn.Module] = set()
        for _, module in self.model.named_modules():
            inner = {child for child in module.modules() if child in linears}
            if module is head or not inner or inner & done or not inner <= late:
                continue
            done |= inner
            plain[module] = module.forward
            patch(module, _on_rows(self.context, module.forward, scatter=True))
        if head is not None and type(head) is nn.Linear:
            plain[head] = head.forward
            patch(head, _on_rows(self.context, head.forward, scatter=False))
        if self.structure.rows is None:
            self.structure.rows = self._answers_alone()
        if not self.structure.rows:
            for module, forward in plain.items():
                patch(module, forward)

    @torch.no_grad()
    def _answers_alone(self) -> bool:
        """Whether a few rows of a text say what they say among all of them."""
        ids = trial(self.origin)[:1].to(self.device)
        positions, layout = (
            torch.arange(ids.shape[1], device=self.device)[None],
            PackedLayout.of_rows(width=ids.shape[1]),
        )
        some = positions[:, 2::3]
        try:
            every = self.logits(ids, positions, layout, positions)
            return close(self.logits(ids, positions, layout, some), every[some[0]])
        except Exception:  # whatever a layer wants beside its rows
            return False

    def _after_last_attention(self) -> set[nn.Module]:
        last = self._try()[-1]
        late: set[nn.Module] = set()
        early: set[nn.Module] = set()
        layout = PackedLayout()

        def note(module: nn.Module, *_: Any) -> None:
            (late if layout.seen and layout.seen[-1] is last else early).add(module)

        hooks = [
            module.register_forward_pre_hook(note) for module in self.model.modules() if isinstance(module, LINEAR)
        ]
        self._try(layout)
        for hook in hooks:
            hook.remove()
        return late - early


LENGTH, SHARED = 12, 5


def trial(model: nn.Module) -> Int[Tensor, "3 LENGTH"]:
    """Three texts to try a model with: two begin alike, and the first and last differ in the last token only."""
    words = int(cast("Any", model).get_input_embeddings().weight.shape[0])
    ids = torch.arange(3 * LENGTH).mul(7).add(3).remainder(words).view(3, LENGTH)
    ids[1, :SHARED] = ids[0, :SHARED]
    ids[2] = ids[0]
    ids[2, -1] = (ids[0, -1] + 1) % words
    return ids


def close(found: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"]) -> bool:
    """Whether logits differ by rounding alone."""
    allowed = {torch.float64: 1e-5, torch.float32: 1e-4}.get(truth.dtype, 5e-2)
    found, truth = found.nan_to_num(), truth.nan_to_num()
    return bool((found - truth).abs().max() <= allowed * truth.abs().max().clamp(min=1.0))


def entering(block: nn.Module, run: Callable[[], object]) -> Tensor:
    """The hidden states that go into a block when ``run`` runs its model, which is ended there."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])
        raise Stop

    hook = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        run()
    except Stop:
        pass
    finally:
        hook.remove()
    return caught[0]


def input_embedding(model: nn.Module) -> str:
    """The name of the parameter that holds an embedding for each token."""
    weight = cast("Any", model).get_input_embeddings().weight
    return next((name for name, parameter in model.named_parameters() if parameter is weight), "")


def first_changed(model: nn.Module, origin: nn.Module, names: Collection[str]) -> int:
    """The index of the first decoder block that holds one of these parameters; 0 if one is before the blocks."""
    places: dict[int, int] = {}
    for index, block in enumerate(decoder_layers(model, origin)):
        for parameter in block.parameters():
            places.setdefault(id(parameter), index)  # one that several blocks share counts from the first
    after = max(places.values(), default=0)
    output = cast("Any", model).get_output_embeddings()
    tied = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    late = {id(parameter) for parameter in output.parameters()} - tied if output is not None else set[int]()
    named = dict(model.named_parameters(remove_duplicate=False))
    return min((places.get(id(named[n]), after if id(named[n]) in late else 0) for n in names), default=0)


def patch(module: nn.Module, forward: Callable[..., Any]) -> None:
    """Replaces a module's forward on this object alone."""
    cast("Any", module).forward = forward


def _silent(*_: Any, **__: Any) -> None:
    """Warns of nothing: what fills texts up here is seen by none of their tokens."""


def _on_rows(context: ForwardContext, forward: Callable[..., Any], scatter: bool) -> Callable[..., Any]:
    def on_rows(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if context.rows is None:
            return forward(x, *args, **kwargs)
        places, chosen = x.shape[:-1], context.rows

        def pick(value: Any) -> Any:  # what accompanies x, a residual or a gate, is cut to the same rows
            if not isinstance(value, Tensor) or value.shape[: len(places)] != places:
                return value
            return value.reshape(-1, *value.shape[len(places) :]).index_select(0, chosen)[None]

        out = forward(pick(x), *map(pick, args), **{name: pick(value) for name, value in kwargs.items()})
        if not scatter:
            return out
        full = out.new_zeros(places.numel(), out.shape[-1])
        return full.index_copy(0, chosen, out[0]).view(*places, -1)

    return on_rows


def _left_out(context: ForwardContext, forward: Callable[..., Any]) -> Callable[..., Any]:
    def left_out(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return forward(hidden_states, *args, **kwargs) if context.resume is None else hidden_states

    return left_out


def _resumed(context: ForwardContext, forward: Callable[..., Any]) -> Callable[..., Any]:
    def resumed(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if context.resume is not None:
            hidden_states = context.resume.expand(hidden_states.shape)
        return forward(hidden_states, *args, **kwargs)

    return resumed


def decoder_layers(model: nn.Module, origin: nn.Module | None = None) -> list[nn.Module]:
    """The blocks of a causal LM in order; none where it is not plain which they are.

    Args:
        model: The model.
        origin: What it is a copy of, if it is one.
    """
    found = structure_of(model if origin is None else origin)
    names = sorted(found.blocks, key=lambda name: found.blocks[name])
    return [model.get_submodule(name) for name in names] if len(names) == found.count else []
