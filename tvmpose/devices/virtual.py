"""Virtual boards by the names of their targets: brought up, found, taken down. They live in the cache folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tvmpose.cards.cache import cache_folder
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.linux_files import write_linux_files
from tvmpose.devices.recipe import Recipe, Userland, list_boards, load_recipe
from tvmpose.devices.userland import build_userland, link_tree, made_at_once
from tvmpose.errors import SetupError
from tvmpose.tools import run_tool


def virtual_board(target_name: str, progress: Callable[[str], None] = lambda line: None) -> VirtualBoard:
    """The board of this target, brought up where it is not yet: some 15 s and, with wheels, 200 MB.

    progress: called with what is about to be done. Raises InputError for a target without a board; SetupError, with the
    command to type, where qemu, apt-get, dpkg-deb, the packages or the wheels cannot be had.
    """
    recipe = load_recipe(target_name)
    if not shutil.which(recipe.userland.emulator):
        raise SetupError(f"{recipe.userland.emulator} is not installed: apt-get install qemu-user")
    board = _board(recipe)
    if board.root.is_dir():
        return board
    userland = _userland_folder(recipe.userland)
    if not userland.is_dir():
        with made_at_once(userland) as folder:
            build_userland(recipe.userland, folder, progress)
    with made_at_once(board.root) as folder:
        link_tree(userland, folder)
        write_linux_files(recipe.cores, folder)
        if recipe.userland.modules:
            progress(f"running python3 on it: {', '.join(recipe.userland.modules)}")
            tried = VirtualBoard(board.name, folder, board.cpu, board.emulator)
            run_tool(tried.command(["python3", "-c", f"import {', '.join(recipe.userland.modules)}"]))
    return board


def board_that_is_up(target_name: str) -> VirtualBoard | None:
    """The target's board if it can be used right away: nothing is fetched and nothing is written."""
    if target_name not in list_boards():
        return None
    board = _board(load_recipe(target_name))
    return board if board.root.is_dir() and shutil.which(board.emulator) else None


def take_down(target_name: str) -> list[Path]:
    """Delete the target's board, those of older recipes too, and the userlands if it was the last; returns what went.

    Raises InputError for a target without a board.
    """
    load_recipe(target_name)
    gone = [path for path in _folder("boards").glob("*-*") if path.name.rpartition("-")[0] == target_name]
    if set(gone) == set(_folder("boards").glob("*-*")):
        gone += _folder("userlands").glob("*-*")
    for path in gone:
        shutil.rmtree(path)
    return gone


def _board(recipe: Recipe) -> VirtualBoard:
    root = _folder("boards") / f"{recipe.name}-{recipe.digest[:12]}"
    return VirtualBoard(recipe.name, root, recipe.cpu, recipe.userland.emulator)


def _userland_folder(userland: Userland) -> Path:
    return _folder("userlands") / f"{userland.name}-{userland.digest[:12]}"


def _folder(kind: str) -> Path:
    return cache_folder() / "virtual" / kind
