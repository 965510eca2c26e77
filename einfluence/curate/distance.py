"""How far apart a probe and a query are, by several measures; a bundle stands at the mean of its members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from einfluence.curate.builder import CurationBuilder, Floats, Ints, Measure
from einfluence.errors import InputError
from einfluence.samples import CAUSAL_LM, IMAGE_CLASS, Sample

Features = Callable[[Sequence[Sample]], np.ndarray]
"""Samples → float array (n, d), or (n, k, d) for k views of each.

The base's hidden states of a text, over all of it and at its target; its penultimate features of an image.
"""

# What samples of an objective can be compared by without a setting; else by OF_WORDS.
MEASURES = {CAUSAL_LM: ("hidden", "lexical"), IMAGE_CLASS: ("features", "pixel")}
OF_WORDS = ("features", "lexical")
CHUNK = 100_000  # pairs compared at a time where not all pairs are wanted

ROUNDING = 1e-6  # of a vector's length: what is left of equal features in float32 when their mean is subtracted


@dataclass(frozen=True)
class Places:
    """Unit or plain vectors of probes (P, d) and queries (Q, d), dense or sparse rows, and how to compare them."""

    probes: Any
    queries: Any
    cosine: bool

    def __call__(self, rows: Ints, columns: Ints) -> Floats:
        """Distances of the pairs (rows[k], columns[k]), all different and sorted."""
        if len(rows) == self.probes.shape[0] * self.queries.shape[0]:
            dots = self.probes @ self.queries.T
            dots = np.asarray(dots.todense() if hasattr(dots, "todense") else dots)
            return self._distance(dots.ravel(), rows, columns)
        chunks = [slice(start, start + CHUNK) for start in range(0, len(rows), CHUNK)]
        found = [self._distance(self._dots(rows[at], columns[at]), rows[at], columns[at]) for at in chunks]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _dots(self, rows: Ints, columns: Ints) -> npt.NDArray[np.float64]:
        left, right = self.probes[rows], self.queries[columns]
        if hasattr(left, "multiply"):
            return np.asarray(left.multiply(right).sum(1)).ravel()
        return np.einsum("nd,nd->n", left, right)

    def _distance(self, dots: npt.NDArray[Any], rows: Ints, columns: Ints) -> Floats:
        if self.cosine:
            return np.maximum(1 - dots, 0).astype(np.float32)
        squares = _squares(self.probes)[rows] + _squares(self.queries)[columns] - 2 * dots
        return np.sqrt(np.maximum(squares, 0) / self.probes.shape[1]).astype(np.float32)


def measures_for(
    builder: CurationBuilder,
    wanted: Sequence[str],
    base_features: Features | None,
    more: Mapping[str, Measure] | None = None,
) -> dict[str, Measure]:
    """The distance measures of a part, by name, in the order in which the spec names them.

    Args:
        builder: Samples, probes and queries.
        wanted: Names from the spec; none takes the defaults of the objective and all of ``more``.
        base_features: Computed once, and only if a measure needs it. Without it, ``hidden`` and ``features`` are left
            out, and the report says so.
        more: Measures that only the source of the data knows, e.g. ``taxonomic``.

    Raises:
        InputError: For a measure that does not exist for samples of this objective.
    """
    more = dict(more or {})
    objective = next((sample.objective for sample in builder.samples.values()), CAUSAL_LM)
    offered = MEASURES.get(objective, OF_WORDS)
    names = list(wanted) or [*offered, *more]
    found: dict[str, Measure] = {}
    for name in names:
        if name in more:
            found[name] = more[name]
        elif name in ("hidden", "features"):
            if base_features is None:
                builder.gates.count("distance not computed (no base)", name)
            else:
                found[name] = _later(builder, base_features, center=True)
        elif name == "lexical" and name in offered:
            found[name] = lexical(builder)
        elif name == "pixel" and name in offered:
            found[name] = pixel(builder)
        elif "lexical" in offered and ("/" in name or name.startswith("embedder:")):
            found[name] = _later(builder, _embedder(name.removeprefix("embedder:")), center=False)
        else:
            known = [*offered, *more]
            raise InputError("distance", f"{name!r}", f"one of {', '.join(known)}, or embedder:<folder or hub id>")
    return found


def _later(builder: CurationBuilder, features: Features, *, center: bool) -> Measure:
    """Asks for features only when the pairs are known to be wanted."""

    def measure(rows: Ints, columns: Ints) -> Floats:
        return embedded(builder, features, center=center)(rows, columns)

    return measure


def embedded(builder: CurationBuilder, features: Features, *, center: bool) -> Measure:
    """Cosine distance in [0, 2] of feature vectors; of several views, the mean of theirs.

    What lies at the mean itself, as the only sample does, has distance 0 from what else lies there, and none from the
    rest.

    Args:
        builder: Samples, probes and queries.
        features: Vectors of samples.
        center: Subtract the mean vector first. The hidden states of a language model share one large component,
            which would leave all cosines near 1.
    """
    needed = _needed(builder)
    vectors = np.asarray(features([builder.samples[key] for key in needed]), dtype=np.float64)
    if vectors.ndim not in (2, 3) or len(vectors) != len(needed) or not np.isfinite(vectors).all():
        raise ValueError(f"features of shape {vectors.shape} for {len(needed)} samples, or not finite")
    if center:
        centred = vectors - vectors.mean(0)
        vectors = np.where(_norms(centred) > ROUNDING * _norms(vectors), centred, 0)
    if vectors.ndim == 3:  # each view weighs the same, however long its vectors
        vectors = _unit(vectors).reshape(len(vectors), -1)
    own, asked = _unit(_pool(builder, needed, vectors)), _unit(_pick(builder, needed, vectors))
    places = Places(own, asked, cosine=True)
    own_at_mean, asked_at_mean = (np.count_nonzero(some, 1) == 0 for some in (own, asked))
    if not (own_at_mean.any() or asked_at_mean.any()):
        return places

    def measure(rows: Ints, columns: Ints) -> Floats:
        probe, query = own_at_mean[rows], asked_at_mean[columns]
        found = np.where(probe | query, np.float32(np.nan), places(rows, columns))
        return np.where(probe & query, np.float32(0), found)

    return measure


def lexical(builder: CurationBuilder) -> Measure:
    """Cosine distance in [0, 1] of TF-IDF vectors of character trigrams, lower case, blanks included."""

    def measure(rows: Ints, columns: Ints) -> Floats:
        needed = _needed(builder)
        vectors = trigrams([f"{builder.samples[key].prompt} {builder.samples[key].target}" for key in needed])
        row = {key: index for index, key in enumerate(needed)}
        members = [[row[member] for member in probe.members] for probe in builder.probes.values()]
        probes = _unit_rows(_mixing(members, len(needed)) @ vectors)
        queries = vectors[[row[key] for key in builder.queries]]
        return Places(probes, queries, cosine=True)(rows, columns)

    return measure


def trigrams(texts: Sequence[str]) -> Any:
    """TF-IDF vectors of character trigrams: a sparse float32 matrix (texts, trigrams), rows of unit length.

    idf = ln((1 + n) / (1 + texts that have it)) + 1, over these texts. All in NumPy: there may be a million texts.
    """
    from scipy.sparse import csr_matrix

    padded = [f"  {text.lower()} " for text in texts]
    lengths = np.array([len(text) for text in padded])
    letters = _ranks(np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.int64))
    size = int(letters.max(initial=0)) + 1
    owner = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    whole = owner[:-2] == owner[2:]
    columns = _ranks(((letters[:-2] * size + letters[1:-1]) * size + letters[2:])[whole])
    owner = owner[:-2][whole]
    n_columns = int(columns.max(initial=-1)) + 1
    counts, owner, columns = _counted(owner * n_columns + columns, n_columns)
    having = np.bincount(columns, minlength=n_columns)
    weights = counts * (np.log((1 + len(texts)) / (1 + having)) + 1)[columns]
    ends = np.searchsorted(owner, np.arange(len(texts) + 1))
    matrix = csr_matrix((weights.astype(np.float32), columns.astype(np.int32), ends), shape=(len(texts), n_columns))
    return _unit_rows(matrix)


def _ranks(values: Ints) -> Ints:
    """Each value's rank among the distinct values; by a table where they are small, which needs no sorting."""
    most = int(values.max(initial=0))
    if most <= 1 << 26:
        return (np.cumsum(np.bincount(values, minlength=1) > 0) - 1)[values]
    return np.unique(values, return_inverse=True)[1]


def _counted(keys: Ints, base: int) -> tuple[Ints, Ints, Ints]:
    """How often each distinct key is there, and the two numbers (key // base, key % base) that it is made of."""
    keys = np.sort(keys)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(np.concatenate([starts, [len(keys)]]))
    return counts, keys[starts] // max(base, 1), keys[starts] % max(base, 1)


def _unit_rows(matrix: Any) -> Any:
    from scipy.sparse import diags

    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    return (diags(1 / np.maximum(norms, 1e-12)) @ matrix).astype(np.float32).tocsr()


def pixel(builder: CurationBuilder) -> Measure:
    """Root mean square difference of pixel values, in [0, 1]."""

    def measure(rows: Ints, columns: Ints) -> Floats:
        needed = _needed(builder)
        arrays = [builder.samples[key].pixels for key in needed]
        vectors = np.stack([array.ravel() for array in arrays if array is not None]).astype(np.float64)
        return Places(_pool(builder, needed, vectors), _pick(builder, needed, vectors), cosine=False)(rows, columns)

    return measure


def _needed(builder: CurationBuilder) -> list[str]:
    """Members of probes, and queries; what could not be read has no distance from anything."""
    members = (member for probe in builder.probes.values() for member in probe.members)
    return [key for key in dict.fromkeys([*members, *builder.queries]) if not builder.samples[key].unreadable]


def _pool(builder: CurationBuilder, needed: list[str], vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    row = {key: index for index, key in enumerate(needed)}
    absent = len(needed)  # the row of what could not be read
    members = [[row.get(member, absent) for member in probe.members] for probe in builder.probes.values()]
    vectors = np.vstack([vectors, np.full((1, vectors.shape[1]), np.nan)])
    if all(len(rows) == 1 for rows in members):
        return vectors[[rows[0] for rows in members]]
    return np.asarray(_mixing(members, len(vectors)) @ vectors)


def _pick(builder: CurationBuilder, needed: list[str], vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    row = {key: index for index, key in enumerate(needed)}
    return vectors[[row[key] for key in builder.queries]]


def _mixing(members: list[list[int]], n: int) -> Any:
    """A sparse matrix that takes rows of samples to means of members."""
    from scipy.sparse import csr_matrix

    lengths = [len(rows) for rows in members]
    weights = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((weights, [row for rows in members for row in rows], indptr), shape=(len(members), n))


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vectors / np.maximum(_norms(vectors), 1e-12)


def _norms(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.linalg.norm(vectors, axis=-1, keepdims=True)


def _squares(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.einsum("nd,nd->n", vectors, vectors)


def _embedder(name: str) -> Features:
    """Mean last hidden states of any transformers encoder: a folder or a hub id, sentence-transformers included."""

    def features(samples: Sequence[Sample]) -> np.ndarray:
        import torch
        from transformers import AutoModel, AutoTokenizer

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(name)
            model: Any = AutoModel.from_pretrained(name).eval()
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise InputError("distance", f"{name!r} ({first})", "a folder or a hub id of a text encoder") from error
        limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or 512, 512)
        texts = [f"{sample.prompt} {sample.target}".strip() for sample in samples]
        found: list[np.ndarray] = []
        with torch.no_grad():
            for start in range(0, len(texts), 64):
                encoded = tokenizer(texts[start : start + 64], truncation=True, max_length=limit)["input_ids"]
                batch = [torch.tensor(ids or [0]) for ids in encoded]
                mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in batch], batch_first=True)
                padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
                hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state
                weights = mask[..., None].to(hidden.dtype)
                found.append(((hidden * weights).sum(1) / weights.sum(1)).float().numpy())
        return np.concatenate(found)

    return features
