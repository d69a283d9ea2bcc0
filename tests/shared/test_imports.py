import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import shared
for module in pkgutil.walk_packages(shared.__path__, "shared."):
    needs_torch = module.name.startswith("shared.training") or module.name in {
        "shared.catalog.modules", "shared.catalog.datasets.torchvision_sets",
    }
    if not needs_torch:
        importlib.import_module(module.name)
from shared.catalog.presets import PRESETS
from shared.plan import plan
from shared.spec import resolve
for name in PRESETS:
    plan(resolve({"preset": name}))
print(sorted({"torch", "torchvision", "sklearn"} & set(sys.modules)))
"""


def test_resolving_planning_and_storing_load_no_torch() -> None:
    """The API and the command line do nothing more, and shall start at once and stay small."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
