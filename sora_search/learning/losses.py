"""What is minimised: scalars over batches of vectors, which are unit rows ``(N, D)``."""

import torch
from torch import Tensor
from torch.nn import functional


def copy_contrast(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Two views of a frame find each other among all views of the batch (NT-Xent).

    Args:
        first: One view of each frame, ``(N, D)``.
        second: The other view, ``(N, D)``.
        temperature: Of the softmax; lower looks harder at the nearest wrong ones.

    Source: SimCLR, Chen et al., ICML 2020, as used for copies by SSCD, Pizzi et al., CVPR 2022.
    """
    num = len(first)
    vectors = torch.cat([first, second])
    logits = vectors @ vectors.T / temperature
    itself = torch.eye(2 * num, dtype=torch.bool, device=first.device)
    logits = logits.masked_fill(itself, float("-inf"))
    right = torch.arange(2 * num, device=first.device).roll(num)
    return functional.cross_entropy(logits, right)


def label_contrast(
    vectors: Tensor, labels: Tensor, groups: Tensor, clips: Tensor, *, temperature: float
) -> Tensor:
    """Clips of one label find each other, across recordings (supervised contrast).

    Right answers to a view are other views of its clip, and its label in another group. Its
    label in its own group is neither right nor wrong, or places and people would be learned
    instead of what happens there; so with ``labels = groups`` each clip finds itself alone.

    Args:
        vectors: Views of clips, ``(N, D)``.
        labels: The number of each one's label, ``(N,)``.
        groups: Of its group, ``(N,)``.
        clips: Of its clip, ``(N,)``; each clip has two views or more.
        temperature: Of the softmax.

    Source: Khosla et al., NeurIPS 2020: the sum over the right answers stands outside the
    logarithm.
    """
    same_label, same_group, same_clip = (
        numbers[:, None] == numbers[None] for numbers in (labels, groups, clips)
    )
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    right = (same_label & ~same_group | same_clip) & ~itself
    left_out = itself | same_label & ~right
    logits = (vectors @ vectors.T / temperature).masked_fill(left_out, float("-inf"))
    missed = logits.logsumexp(1, keepdim=True) - logits
    return (missed.masked_fill(~right, 0.0).sum(1) / right.sum(1)).mean()


def spread(vectors: Tensor, groups: Tensor) -> Tensor:
    """How close each vector is to its nearest one of another group, as minus log of the gap.

    Minimising it spreads vectors evenly over the sphere (the entropy estimator of Kozachenko
    and Leonenko; KoLeo in Sablayrolles et al., ICLR 2019; for copies in SSCD). `groups` ``(N,)``
    are the numbers of the frames that the vectors show.
    """
    with torch.no_grad():
        near = vectors @ vectors.T
        near[groups[:, None] == groups[None]] = -2
        nearest = near.argmax(1)
    gap = (vectors - vectors[nearest]).norm(dim=1)
    return -torch.log(gap + 1e-6).mean()
