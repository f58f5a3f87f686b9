"""Losses against cases worked out by hand and naive versions."""

import math

import pytest
import torch
from torch.nn import functional

from sora_search.learning.losses import copy_contrast, label_contrast, spread


def unit(num: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(num, dim, generator=generator), dim=1)


def test_contrast_of_orthogonal_pairs_by_hand() -> None:
    vectors = torch.eye(2)
    # Of three others, the right one has similarity 1, both wrong ones 0.
    expected = -math.log(math.e / (math.e + 2))
    assert copy_contrast(vectors, vectors, temperature=1.0).item() == pytest.approx(expected)


def test_contrast_against_a_naive_version() -> None:
    first, second = unit(5), unit(5, seed=1)
    everything = torch.cat([first, second])
    total = 0.0
    for i in range(10):
        weights = [
            math.exp(float(everything[i] @ everything[j]) / 0.2) for j in range(10) if j != i
        ]
        right = math.exp(float(everything[i] @ everything[(i + 5) % 10]) / 0.2)
        total -= math.log(right / sum(weights)) / 10
    assert copy_contrast(first, second, temperature=0.2).item() == pytest.approx(total, rel=1e-5)


def test_spread_is_the_log_of_the_gap_to_the_nearest_of_another_group() -> None:
    vectors = functional.normalize(torch.tensor([[1.0, 0], [1, 0.01], [0, 1], [-1, 0]]), dim=1)
    groups = torch.tensor([0, 0, 1, 2])
    gaps = [math.dist(vectors[a].tolist(), vectors[b].tolist()) for a, b in [(0, 2), (1, 2)]]
    gaps += [gaps[1], math.dist(vectors[3].tolist(), vectors[2].tolist())]
    expected = -sum(math.log(gap) for gap in gaps) / 4
    assert spread(vectors, groups).item() == pytest.approx(expected, rel=1e-4)


def test_contrast_of_labels_by_hand() -> None:
    # Views 0 and 1 are one clip, 2 its label in another group, 3 its label in its own group
    # (neither right nor wrong), 4 another label; every product but those with 4 is 1.
    vectors = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 2)
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    groups = torch.tensor([0, 0, 1, 0, 2, 2])
    clips = torch.tensor([0, 0, 1, 2, 3, 3])
    first = math.log(2 * math.e + 2) - 1  # 0, 1: two right answers, two wrong ones
    third = math.log(3 * math.e + 2) - 1  # 2: three right answers
    fourth = math.log(math.e + 2) - 1  # 3: one right answer, in another group
    last = math.log(math.e + 4) - 1  # 4, 5: each other, four wrong ones
    expected = (2 * first + third + fourth + 2 * last) / 6
    found = label_contrast(vectors, labels, groups, clips, temperature=1.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_contrast_of_labels_that_are_groups_is_that_of_clips_without_their_group() -> None:
    first, second = unit(4), unit(4, seed=1)
    groups, clips = torch.tensor([0, 0, 1, 2]).repeat(2), torch.arange(4).repeat(2)
    both = torch.cat([first, second])
    total = 0.0
    for i in range(8):
        kept = [j for j in range(8) if groups[j] != groups[i] or (j % 4 == i % 4 and j != i)]
        weights = {j: math.exp(float(both[i] @ both[j]) / 0.2) for j in kept}
        total -= math.log(weights[(i + 4) % 8] / sum(weights.values())) / 8
    found = label_contrast(both, groups, groups, clips, temperature=0.2)
    assert found.item() == pytest.approx(total, rel=1e-5)
