"""A user's own translations: two text files, a sentence a line, line k of the one translated in line k of the other."""

from __future__ import annotations

from pathlib import Path

from cs231n_jax.data import lines, sentences
from cs231n_jax.data.base import DataConfig, Part, choose_split

PREFIX = "parallel:"
HELD_OUT = 10  # of files without a place for the split, one line in so many is "test": those at the end
SPLITS = ("train", "validation", "test")


def open_split(config: DataConfig, part: Part) -> sentences.Sentences:
    """One split of two files in UTF-8, named as "parallel:SOURCE:TARGET".

    With {split} in both names, as in "parallel:{split}.de:{split}.en", each split has files of its own (train.de, …);
    otherwise the first nine tenths of the lines train and the rest is "test". Pairs of which one side is empty count:
    they are for the user to remove.

    Raises:
        ValueError: the name is not of this form, a file is no text in UTF-8 or empty, or the numbers of lines differ.
        FileNotFoundError: there is no such file.
    """
    names = config.name.removeprefix(PREFIX).split(":")
    if len(names) != 2 or not all(names) or len({"{split}" in name for name in names}) != 1:
        raise ValueError(
            f"{config.name!r} does not name two files; write parallel:SOURCE:TARGET, with {{split}} in both or in "
            "neither, as in parallel:{split}.de:{split}.en"
        )
    if "{split}" not in names[0]:
        everything = _pairs(config, names)
        cut = len(everything) - len(everything) // HELD_OUT
        split = choose_split(config, part, ("train", "test"))
        return sentences.pairs(
            config, part, split, everything[:cut] if split == "train" else everything[cut:], everything[:cut]
        )
    there = [s for s in SPLITS if all(_path(config, name.replace("{split}", s)).is_file() for name in names)]
    split, training = choose_split(config, part, there), choose_split(config, "train", there)
    chosen = {s: _pairs(config, [name.replace("{split}", s) for name in names]) for s in {split, training}}
    return sentences.pairs(config, part, split, chosen[split], chosen[training])


def _pairs(config: DataConfig, names: list[str]) -> list[sentences.Pair]:
    paths = [_path(config, name) for name in names]
    source, target = map(_lines, paths)
    if len(source) != len(target):
        raise ValueError(
            f"{paths[0]} has {len(source)} lines and {paths[1]} {len(target)}: line k of one must be the translation "
            "of line k of the other, so make them equally long"
        )
    return list(zip(source, target))


def _path(config: DataConfig, name: str) -> Path:
    return Path(config.dir, name).expanduser()


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; data.name has paths from data.dir, or the working directory")
    found = lines.read(path)
    if len(found) < 2:
        raise ValueError(f"{path} has {len(found)} lines; it takes at least 2 to train and to evaluate")
    return found
