"""Models by name: cards that describe them, and the files they describe."""

from tvmpose.cards.cache import cache_folder, pull, sha256_of
from tvmpose.cards.card import Accuracy, Card, Crop, Input
from tvmpose.cards.heads import AnyHead, CentreHead, DetectionHead, Head, SimccHead
from tvmpose.cards.library import card_for_hash, list_cards, load_card
from tvmpose.cards.samples import Sample, list_samples, pull_sample

__all__ = [
    "Accuracy",
    "AnyHead",
    "Card",
    "CentreHead",
    "Crop",
    "DetectionHead",
    "Head",
    "Input",
    "Sample",
    "SimccHead",
    "cache_folder",
    "card_for_hash",
    "list_cards",
    "list_samples",
    "load_card",
    "pull",
    "pull_sample",
    "sha256_of",
]
