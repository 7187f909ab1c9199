"""Blocks of vectors: Parquet files with frame_id, region, key and vector."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.errors import CorruptDataError
from besana.storage import Storage

Keys = NDArray[np.uint64]
Vectors = NDArray[np.float16]


def read_vectors(storage: Storage, name: str, features: int) -> Vectors:
    """Read the vectors of a block, (n, features)."""
    flat = read_block(storage, name, ["vector"])["vector"].combine_chunks().flatten()
    found: Vectors = flat.to_numpy(zero_copy_only=False).reshape(-1, features)
    return found


def read_block(storage: Storage, name: str, columns: list[str]) -> Any:
    """Read columns of a block as an Arrow table.

    Raises:
        CorruptDataError: If it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = storage.read(name)
    try:
        return pq.read_table(io.BytesIO(data), columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise CorruptDataError(
            f"Embeddings '{name}' in {storage.url} are corrupt: {error}.",
            f"Delete the folder {storage.url}; it is made again.",
        ) from None


def write_block(
    storage: Storage,
    name: str,
    identities: Sequence[Mapping[str, Any]],
    keys: Keys,
    vectors: Vectors,
) -> None:
    """Write a block, durable on return; no reader sees it before the index counts it.

    Args:
        storage: Where the blocks of its backbone lie.
        name: Its file.
        identities: `frame_id` and `region` of each sample.
        keys: (n,) from `sample_keys`.
        vectors: (n, features).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(vectors.astype(np.float16).ravel())
    table = pa.table(
        {
            "frame_id": [row["frame_id"] for row in identities],
            "region": [row["region"] for row in identities],
            "key": keys,
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    storage.write(name, sink.getbuffer())
