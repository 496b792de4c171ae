"""Files of weights: .npz, .safetensors and torch's .pth, all read without torch."""

import collections
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from cs231n_jax.typing import ModelState, Params

# torch's storage classes, by the name that a .pth file has for them
_STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": jnp.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class ContentError(ValueError):
    """A file of weights holds what it should not; the message says what, and what to do."""


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name.

    Args:
        path: a .npz, a .safetensors (with the package of that name installed), or a .pth / .pt state dict of torch.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the file may not be read.
        ValueError: the kind of file is unknown, the file is damaged, or it holds something else than arrays of numbers
            by name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    if path.suffix not in _READERS:
        raise ValueError(f"{path.name} is no kind of weights known here: give {', '.join(_READERS)}")
    try:
        arrays = _READERS[path.suffix](path)
    except (ContentError, PermissionError, ImportError):
        raise
    except Exception as error:  # bytes at random can make zipfile, pickle and numpy raise almost anything
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise ContentError(
            f"{path.name} is damaged, or no {path.suffix} file ({reason}): copy, download or export it again"
        ) from error
    for name, array in arrays.items():
        if not _is_numeric(array.dtype):
            raise ContentError(f"{path.name} holds {name!r} of type {array.dtype}: weights are arrays of numbers")
    return arrays


def write(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as .npz or .safetensors.

    Raises:
        ValueError: the suffix is neither.
    """
    path, arrays = Path(path), {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    if path.suffix == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        _safetensors().save_file(arrays, path)
    else:
        raise ValueError(f"weights are written as .npz or .safetensors, not as {path.name}")


def to_flat(params: Params, model_state: ModelState) -> dict[str, np.ndarray]:
    """Our variables by path: 'params/stem_conv/kernel', 'batch_stats/stem_norm/mean', ..."""
    flat = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, Mapping):
            for name, child in node.items():
                walk(f"{prefix}/{name}" if prefix else name, child)
        else:
            flat[prefix] = np.asarray(node)

    walk("", {"params": params, **model_state})
    return flat


def from_flat(flat: Mapping[str, np.ndarray]) -> tuple[Params, ModelState]:
    """The inverse of `to_flat`: (params, model_state).

    Raises:
        ValueError: a name is also the beginning of another one, as in "a" and "a/b".
    """
    tree: dict[str, Any] = {"params": {}}
    for path, array in flat.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or leaf in node:
            raise ValueError(f"{path!r} stands for an array and for a group of arrays: give each its own name")
        node[leaf] = jnp.asarray(array)
    return tree.pop("params"), tree


def _is_numeric(dtype: np.dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:  # numpy leaves open what it cannot read
        arrays = np.load(file)
        if isinstance(arrays, np.ndarray):
            raise ContentError(f"{path.name} holds one array without a name: write it with numpy.savez")
        return {name: _member(path, arrays, name) for name in arrays.files}


def _member(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return arrays[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ContentError(
            f"{path.name} holds {name!r} of Python objects, which are never loaded: weights are arrays of numbers"
        ) from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    return _safetensors().load_file(path)


def _safetensors() -> Any:
    try:
        import safetensors.numpy  # an optional dependency
    except ImportError as error:
        raise ContentError("safetensors is not installed: pip install 'cs231n_jax[weights]', or use .npz") from error
    return safetensors.numpy


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        content = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file, path)
    for wrapper in ("state_dict", "model_state_dict", "model"):  # what training scripts wrap a state dict in
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    named = isinstance(content, Mapping) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise ContentError(f"{path.name} is no state dict: it holds something else than arrays by name")
    return dict(content)


class _Storage:
    """The numbers behind one or more tensors; in the old format they follow after the tensors that use them."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.data = np.empty(0, dtype)


class _LazyTensor:
    """A view of a storage, taken when the storage has its numbers."""

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self) -> np.ndarray:
        data = self.storage.data[self.offset :]
        last = sum((length - 1) * step for length, step in zip(self.size, self.stride))
        if min((self.offset, *self.stride, *self.size), default=0) < 0 or (0 not in self.size and last >= len(data)):
            raise ContentError(f"damaged file: a tensor of shape {list(self.size)} exceeds its {len(data)} numbers")
        strides = [step * data.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(data, self.size, strides, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """Reads the pickle of a state dict and refuses to call anything that one does not need."""

    def __init__(self, file: Any, load_storage: Callable[[tuple[Any, ...]], _Storage]):
        super().__init__(file, encoding="latin1")
        self._load_storage = load_storage

    def persistent_load(self, pid: tuple[Any, ...]) -> _Storage:
        return self._load_storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _LazyTensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in known:
            return known[module, name]
        raise ContentError(f"the file holds a {module}.{name}, no part of a state dict: save model.state_dict()")


def _read_zip(file: BinaryIO) -> Any:
    """The format of torch ≥ 1.6: a zip archive with a pickle and one member for each storage."""
    with zipfile.ZipFile(file) as archive:
        pickled = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "")
        if not pickled:
            raise ContentError(
                "the archive has no data.pkl, so torch.save has not written it: save a state dict with it"
            )
        root = pickled.removesuffix("data.pkl")
        storages: dict[str, _Storage] = {}

        def load(pid: tuple[Any, ...]) -> _Storage:
            _, dtype, key, *_ = pid
            if key not in storages:
                storages[key] = _Storage(dtype)
                storages[key].data = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
            return storages[key]

        return _arrays(_Unpickler(io.BytesIO(archive.read(pickled)), load).load())


def _read_legacy(file: BinaryIO, path: Path) -> Any:
    """The older format: pickles one after the other, then the storages."""
    storages: dict[str, _Storage] = {}

    def load(pid: tuple[Any, ...]) -> _Storage:
        _, dtype, key, *_ = pid
        return storages.setdefault(key, _Storage(dtype))

    def unpickle() -> Any:
        return _Unpickler(file, load).load()

    file.seek(0)
    try:
        magic = unpickle()
    except Exception:  # what is no pickle can fail in any way
        magic = None
    if magic != _LEGACY_MAGIC:
        raise ContentError(f"{path.name} is no file that torch.save has written: give a state dict saved with it")
    _ = unpickle(), unpickle()  # protocol version, sizes of types
    content, keys = unpickle(), unpickle()
    for key in keys:
        count = int(np.frombuffer(file.read(8), np.int64)[0])
        dtype = storages[key].dtype
        storages[key].data = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return _arrays(content)


def _arrays(node: Any) -> Any:
    """The same nested dicts with arrays in place of lazy tensors."""
    if isinstance(node, Mapping):
        return {key: _arrays(value) for key, value in node.items()}
    return node.array() if isinstance(node, _LazyTensor) else node


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
}
