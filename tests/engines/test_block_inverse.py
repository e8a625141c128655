"""The inverse of block tridiagonal matrices."""

import numpy as np
import pytest

from mollifier.engines.linalg.blocks import BlockInverse, BlockLayout, Blocks


def blocks_of(matrix, block):
    """A dense matrix as blocks, from half of every entry."""
    i, j = np.nonzero(np.abs(block[:, None] - block) <= 1)
    layout = BlockLayout(block)
    return Blocks.symmetric(layout, np.bincount(layout.index(i, j), matrix[i, j] / 2, layout.size))


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_block_inverse_dense(blocks):
    """Products, and blocks on and beside the diagonal, are those of the dense inverse, rows in any order."""
    rng = np.random.default_rng(0)
    block = rng.permutation(np.arange(40) * blocks // 40)
    near = np.abs(block[:, None] - block) <= 1
    half = rng.standard_normal((40, 40))
    matrix = np.where(near, half @ half.T, 0.0) + 300 * np.eye(40)
    found, expected = BlockInverse.of(blocks_of(matrix, block), 0.0), np.linalg.inv(matrix)
    right = rng.standard_normal((40, 3))
    np.testing.assert_allclose(blocks_of(matrix, block) @ np.eye(40), matrix, rtol=1e-14)
    np.testing.assert_allclose(found @ right, expected @ right, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(found @ right[:, 0], expected @ right[:, 0], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(found.near.diagonal, np.diag(expected), rtol=1e-11)
    np.testing.assert_allclose(found.near @ np.eye(40), np.where(near, expected, 0.0), rtol=1e-11, atol=1e-14)


def test_block_inverse_ridge():
    """The ridge is a share of each diagonal entry and of their mean."""
    matrix = np.diag([1.0, 3.0])
    found = BlockInverse.of(blocks_of(matrix, np.array([0, 1])), 0.1)
    np.testing.assert_allclose(1 / found.near.diagonal, [1.3, 3.5])
