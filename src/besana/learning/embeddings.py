"""Embeddings: one vector a sample and backbone, written once, found again by the sample's bytes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.errors import CorruptDataError, NotFoundError
from besana.learning.vector_blocks import Keys, Vectors, read_block, read_vectors, write_block
from besana.shards.loader import Loader
from besana.storage import Storage

if TYPE_CHECKING:
    from besana.models.network import Backbone, Built
    from besana.shards.jobs import Batch
    from besana.shards.manifest import Manifest, Positions

_FORMAT = 1
_INDEX = "index.json"
_BLOCK_ROWS = 4096
_BLOCK_S = 60.0
_STEP = 8192


class Block(NamedTuple):
    """Some samples and their vectors.

    Attributes:
        keys: (n,) from `sample_keys`.
        vectors: (n, features) float16.
    """

    keys: Keys
    vectors: Vectors


class Embeddings:
    """The vectors of one backbone: Parquet blocks, and an index that names and counts them.

    A block is durable before the index counts it, so a killed writer loses its last block only.
    Columns: frame_id, region, key, vector.

    Args:
        storage: Where the blocks lie: `embeddings/<backbone key>`.
        features: Length of a vector.

    Raises:
        CorruptDataError: If the index is not whole, or of vectors of another length.
    """

    def __init__(self, storage: Storage, features: int) -> None:
        self.storage = storage
        self.features = features
        self._names, self._rows = self._read_index()

    def __len__(self) -> int:
        return sum(self._rows)

    def known(self) -> Keys:
        """Read the keys of all samples that have a vector, sorted; 8 bytes a sample."""
        parts = [self._read(number, ["key"])["key"] for number in range(len(self._rows))]
        keys = [part.to_numpy() for part in parts]
        return np.unique(np.concatenate([*keys, np.empty(0, np.uint64)]))

    def blocks(self) -> Iterator[Block]:
        """Walk over all blocks; a sample that was embedded twice appears twice."""
        for number in range(len(self._rows)):
            table = self._read(number, ["key", "vector"])
            flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            yield Block(table["key"].to_numpy(), flat.reshape(-1, self.features))

    def placed(self, keys: Keys) -> Iterator[tuple[str, NDArray[np.intp], NDArray[np.intp]]]:
        """Tell which block holds which samples, the newest where two do; reads no vector.

        Args:
            keys: (n,) from `sample_keys`.

        Yields:
            Name of a block, which of its rows, and which of the keys these are.
        """
        missing = np.ones(len(keys), np.bool_)
        for number in range(len(self._rows) - 1, -1, -1):
            if not missing.any():
                break
            own = self._read(number, ["key"])["key"].to_numpy()
            order = np.argsort(own)
            place = np.searchsorted(own, keys, sorter=order).clip(max=len(own) - 1)
            hit = missing & (own[order[place]] == keys)
            missing &= ~hit
            if hit.any():
                yield self._names[number], order[place[hit]], np.flatnonzero(hit)

    def vectors(self, keys: Keys) -> Vectors:
        """Find the vectors of some samples, the newest blocks first, and no more than needed.

        Args:
            keys: (n,) from `sample_keys`.

        Returns:
            (n, features); NaN where a sample has none.
        """
        found = np.full((len(keys), self.features), np.nan, np.float16)
        for name, rows, which in self.placed(keys):
            found[which] = read_vectors(self.storage, name, self.features)[rows]
        return found

    def nearest(self, vector: NDArray[np.float32], count: int) -> list[tuple[str, str, int, float]]:
        """Find the samples whose vectors point most nearly the same way, by looking at all.

        One block is in memory at a time. A sample that was embedded twice may come twice.

        Args:
            vector: (features,).
            count: How many at most.

        Returns:
            Frame, region, key and cosine, the most alike first.
        """
        wanted = vector / max(float(np.linalg.norm(vector)), 1e-12)
        best: list[tuple[str, str, int, float]] = []
        for number in range(len(self._rows)):
            vectors = read_vectors(self.storage, self._names[number], self.features)
            rows = vectors.astype(np.float32)
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows)).clip(min=1e-12)
            cosine = np.nan_to_num(rows @ wanted / lengths, nan=-1.0)
            top = np.argsort(-cosine, kind="stable")[:count]
            top = top[cosine[top] > (best[-1][3] if len(best) == count else -np.inf)]
            if len(top):
                names = self._read(number, ["frame_id", "region", "key"]).take(top).to_pylist()
                found = zip(names, cosine[top].tolist(), strict=True)
                best += [(row["frame_id"], row["region"], row["key"], sure) for row, sure in found]
                best = sorted(best, key=lambda each: -each[3])[:count]
        return best

    def add(self, identities: Sequence[dict[str, Any]], keys: Keys, vectors: Vectors) -> None:
        """Write one more block, durable on return.

        Args:
            identities: `frame_id` and `region` of each sample.
            keys: (n,) from `sample_keys`.
            vectors: (n, features).
        """
        name = f"{len(self._rows):06d}.parquet"
        write_block(self.storage, name, identities, keys, vectors)
        self.count(name, len(keys))

    def count(self, name: str, rows: int) -> None:
        """Let the index count a block that `write_block` wrote.

        Args:
            name: The block; one that is counted already stays as it is.
            rows: Its samples.
        """
        if name in self._names:
            return
        self._names.append(name)
        self._rows.append(rows)
        index = {"format": _FORMAT, "features": self.features, "rows": self._rows}
        self.storage.write(_INDEX, json.dumps({**index, "blocks": self._names}).encode())

    def _read(self, number: int, columns: list[str]) -> Any:
        return read_block(self.storage, self._names[number], columns)

    def _read_index(self) -> tuple[list[str], list[int]]:
        try:
            index = json.loads(self.storage.read(_INDEX))
            rows = [int(count) for count in index["rows"]]
            # Before executors wrote blocks, all of them were numbered and none was named.
            numbered = [f"{number:06d}.parquet" for number in range(len(rows))]
            names = [str(name) for name in index.get("blocks", numbered)]
        except NotFoundError:
            return [], []
        except (ValueError, TypeError, KeyError, AttributeError):
            index, names, rows = {}, [], []
        if index.get("format") != _FORMAT or index.get("features") != self.features:
            raise CorruptDataError(
                f"'{_INDEX}' in {self.storage.url} is not an index of {self.features} features.",
                f"Delete the folder {self.storage.url}; it is made again.",
            )
        return names, rows


def backbone_key(backbone: Backbone, built: Built, seed: int = 0) -> str:
    """Name a backbone's folder: readable, and different for anything that changes a vector."""
    import torch

    origin = {
        "name": backbone.name,
        "options": dict(backbone.options or {}),
        "weights": built.weights.sha256 or f"random {seed}",
        "preprocessing": built.preprocessing.model_dump(),
        "format": _FORMAT,
        "torch": torch.__version__.split(".")[0],
    }
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True, default=str).encode()).hexdigest()
    name = backbone.name.rpartition("/")[2]
    return f"{name}-{built.preprocessing.size_px}px-{digest[:8]}"


def sample_keys(identities: Sequence[Mapping[str, Any]], crc32c: NDArray[np.uint32]) -> Keys:
    """Name samples by 64 bits of who they are and what their bytes are.

    Args:
        identities: `frame_id` and `region` of each sample.
        crc32c: (n,) CRC32C of each record's data, as in the manifest.
    """
    digests = b"".join(
        hashlib.blake2b(
            f"{row['frame_id']}/{row['region']}/{crc:08x}".encode(), digest_size=8
        ).digest()
        for row, crc in zip(identities, crc32c.tolist(), strict=True)
    )
    return np.frombuffer(digests, np.uint64)


def manifest_keys(manifest: Manifest, positions: Positions) -> Keys:
    """Name some samples of a manifest, a stretch at a time."""
    parts = [np.empty(0, np.uint64)]
    for start in range(0, len(positions), _STEP):
        step = positions[start : start + _STEP]
        parts.append(sample_keys(manifest.identities(step), manifest.crc32c[step]))
    return np.concatenate(parts)


def embed(
    embeddings: Embeddings,
    built: Built,
    manifest: Manifest,
    positions: Positions,
    shards: Storage,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    known: Keys | None = None,
    advance: Callable[[int], None] = lambda _count: None,
) -> list[str]:
    """Embed those of some samples that have no vector yet.

    Args:
        embeddings: Where the vectors go.
        built: The backbone.
        manifest: What lies where.
        positions: The samples, as positions in the manifest.
        shards: Where the shards lie.
        device: Where to compute.
        batch_size: Samples at a time.
        known: `embeddings.known()`, from those who call this many times.
        advance: Called with the number of samples that are done.

    Returns:
        One sentence for each record that could not be used.
    """
    known = embeddings.known() if known is None else known
    missing = ~np.isin(manifest_keys(manifest, positions), known)
    advance(int((~missing).sum()))
    due = positions[missing]
    if not len(due):
        return []
    pending = _Pending(embeddings)
    embedder = Embedder(built, device)
    with open_pictures(built, manifest, due, shards, batch_size) as loader:
        for batch in loader:
            pending.add(*embedder.embed(manifest, batch))
            advance(int((batch.index >= 0).sum()))
        pending.flush()
        return loader.dropped()


def open_pictures(
    built: Built, manifest: Manifest, positions: Positions, shards: Storage, batch_size: int
) -> Loader:
    """Open a loader of some samples, in order, at the size that a backbone takes."""
    return Loader(
        manifest,
        None,
        min(batch_size, len(positions)),
        built.preprocessing.size_px,
        shards,
        positions=positions,
        shuffle="none",
        on_error="substitute",
    )


class Embedder:
    """Compute vectors with a frozen backbone.

    Args:
        built: The backbone.
        device: Where to compute.
    """

    def __init__(self, built: Built, device: str) -> None:
        self._network = built.network.to(device).eval()
        self._preprocessing, self._device = built.preprocessing, device

    def vectors(self, images: NDArray[np.uint8]) -> Vectors:
        """Embed pictures of the network's size, (n, size_px, size_px, channels) uint8."""
        import torch

        from besana.models.network import features

        with torch.inference_mode():
            inputs = self._preprocessing.normalise(torch.from_numpy(images).to(self._device))
            found = features(self._network, inputs).float().clamp(-65504, 65504)
        return found.to(torch.float16).cpu().numpy()

    def embed(self, manifest: Manifest, batch: Batch) -> tuple[list[dict[str, Any]], Keys, Vectors]:
        """Embed the whole records of a batch: who they are, their keys and vectors."""
        index = batch.index[batch.valid]
        identities = manifest.identities(index)
        keys = sample_keys(identities, manifest.crc32c[index])
        return identities, keys, self.vectors(batch.images)[batch.valid]


class _Pending:
    """Vectors on their way into a block."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self._identities: list[dict[str, Any]] = []
        self._keys: list[Keys] = []
        self._vectors: list[Vectors] = []
        self._since = time.monotonic()

    def add(self, identities: Sequence[dict[str, Any]], keys: Keys, vectors: Vectors) -> None:
        self._identities += identities
        self._keys.append(keys)
        self._vectors.append(vectors)
        late = time.monotonic() - self._since >= _BLOCK_S
        if len(self._identities) >= _BLOCK_ROWS or late:
            self.flush()

    def flush(self) -> None:
        if self._identities:
            self._embeddings.add(
                self._identities, np.concatenate(self._keys), np.concatenate(self._vectors)
            )
        self._identities, self._keys, self._vectors = [], [], []
        self._since = time.monotonic()
