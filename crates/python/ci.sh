#!/usr/bin/env bash
# Builds the wheel of the Python package and tests it with the packages that it is made for, from a clean clone.
#
# Needs Rust, Python 3.11 or later with venv, and a Python package index; CARGO_TARGET_DIR is respected, so that what `cargo test` has
# built is used again. DOCENT_PYTHON_VENV names another place for the virtual environment, to keep it between runs. Takes some two
# minutes on two cores after the packages (1.5 GB unpacked) are there and `cargo test --workspace` has run.
set -euo pipefail
cd "$(dirname "$0")"
export PIP_DISABLE_PIP_VERSION_CHECK=1

target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}
venv=${DOCENT_PYTHON_VENV:-$target/python/venv}
wheels=$target/python/wheels

step() { printf '\n== python: %s (%ss)\n' "$*" "$SECONDS"; }

step 'packages'
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --requirement requirements-dev.txt

step 'wheel'
rm -rf "$wheels"
# The development profile, whose dependencies `cargo test` has built; the kernels in it are at full speed.
"$venv/bin/maturin" build --quiet --profile dev --strip --interpreter "$venv/bin/python" --out "$wheels"
"$venv/bin/pip" install --quiet --no-deps --force-reinstall "$wheels"/*.whl

step 'size and import'
"$venv/bin/python" - "$wheels" <<'PYTHON'
import pathlib, subprocess, sys

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
size = wheel.stat().st_size / 1e6
print(f"{wheel.name}: {size:.1f} MB")
assert "-cp39-abi3-" in wheel.name, "expected one wheel for every Python from 3.9 on"
assert size <= 20, "expected at most 20 MB"
code = "import time; begin = time.perf_counter(); import docent; print(time.perf_counter() - begin)"
times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(10)]
print(f"import docent: {min(times) * 1e3:.0f} ms, the best of {len(times)}")
# 100 ms is the aim; a busy machine may take longer.
assert min(times) <= 0.3, times
PYTHON

step 'types'
"$venv/bin/mypy" --no-error-summary python/docent

step 'tests'
# Not from here, where the package's sources would be found before the wheel.
cd tests
"$venv/bin/python" -m pytest --quiet --rootdir .. --config-file ../pyproject.toml --durations 5 .
step 'done'
