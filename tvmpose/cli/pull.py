"""``tvmpose pull NAME``: fetch a model or a sample photo into the cache, verify it, print its path.

The path is all that goes to standard output: cp "$(tvmpose pull astronaut)" .
"""

import argparse
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "pull",
        help="fetch a model or a sample photo by name",
        description="Fetch a model or a sample photo into the cache, verify its hash and print its path.",
    )
    parser.add_argument("name", metavar="NAME", help="a model or sample of `tvmpose models`, or a card's .toml file")
    parser.add_argument("--from", dest="source_file", type=Path, metavar="FILE", help="take it from here; same checks")
    parser.add_argument("--trust", action="store_true", help="accept a file whose card has no hash to check it against")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="default: $TVMPOSE_CACHE, or the user's cache folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch, verify, print the path."""
    from tvmpose.cards import list_samples, load_card, pull, pull_sample

    if args.name in (sample.name for sample in list_samples()):
        path = pull_sample(args.name, source_file=args.source_file, trust=args.trust, cache=args.cache)
    else:
        path = pull(load_card(args.name), source_file=args.source_file, trust=args.trust, cache=args.cache)
    print(path)
    return 0
