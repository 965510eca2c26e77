"""Empirical influence: what one training sample teaches a model, and whether it learned it the way it should.

```python
import einfluence

result = einfluence.measure("spec.yaml", "my-store")
einfluence.Store("my-store").influence().filter("influence > 1")
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einfluence.errors import InputError
    from einfluence.run import measure
    from einfluence.score import Result, scorecard
    from einfluence.spec import Spec, load_spec
    from einfluence.store.store import Store

__version__: str

__all__ = ["InputError", "Result", "Spec", "Store", "load_spec", "measure", "scorecard"]

_HOMES = {
    "InputError": "einfluence.errors",
    "Result": "einfluence.score",
    "Spec": "einfluence.spec",
    "Store": "einfluence.store.store",
    "load_spec": "einfluence.spec",
    "measure": "einfluence.run",
    "scorecard": "einfluence.score",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then, so that `import einfluence` and `einfluence --help` stay quick."""
    if name == "__version__":
        return import_module("importlib.metadata").version("einfluence")
    if name not in _HOMES:
        raise AttributeError(f"module 'einfluence' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
