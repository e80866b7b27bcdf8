"""What to say of operators that are not supported: every place where they stand, and what to use instead."""

from collections.abc import Collection, Mapping, Sequence

from tvmpose.suggest import did_you_mean

# By a part of the operator's name in small letters, whatever the format calls it.
ALTERNATIVES = {
    "nonmaxsuppression": "leave it out: a card's head of kind detections suppresses overlaps in the library",
    "nms": "leave it out: a card's head of kind detections suppresses overlaps in the library",
    "posenetdecoder": "leave it out: take the model that ends in heatmaps and offsets",
    "detection_postprocess": "leave it out: a card's head of kind detections does it in the library",
    "roialign": "a detector for people and a second network for their crops",
    "roi_align": "a detector for people and a second network for their crops",
    "gridsample": "a resize, where the places do not depend on the picture",
    "grid_sampler": "a resize, where the places do not depend on the picture",
    "deform_conv": "a plain or dilated convolution",
    "nonzero": "a fixed number of the best, by top-k",
    "loop": "unroll the loop when exporting",
    "while": "unroll the loop when exporting",
    "if": "export the branch that is meant, with constants for its condition",
    "dropout": "export the model in eval mode",
    "batch_norm": "export the model in eval mode",
}


def listed(lacking: Mapping[str, Sequence[str]], known: Collection[str]) -> str:
    """Operators with all the nodes that use them, and for each the nearest thing that is supported."""
    return "; ".join(
        f"{operator} at {', '.join(nodes)}{_instead(operator, known)}" for operator, nodes in sorted(lacking.items())
    )


def _instead(operator: str, known: Collection[str]) -> str:
    name = operator.lower()
    for part, text in ALTERNATIVES.items():
        if name == part or (len(part) > 4 and part in name):
            return f" (instead: {text})"
    hint = did_you_mean(operator, sorted(known), "")
    return f" ({hint})" if hint else ""
