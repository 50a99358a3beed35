#!/bin/sh
# Build the wheel, install it into an empty environment, and run the demo there, away from the repository.
#
# PYTHON=python3.11        the interpreter to build with and to install for
# QUICK=1                  paint one picture in place of the demo, which takes minutes
# LIBRARIES=SITE_PACKAGES  use the libraries of that folder and install the wheel alone
set -eu
cd "$(dirname "$0")/.."
repository=$PWD
python=${PYTHON:-python3}
most=100000000 # bytes of a wheel

fail() {
    echo "try_wheel: $1" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" .
wheel=$(echo "$work"/limner-*.whl)
size=$(wc -c <"$wheel")
[ "$size" -lt "$most" ] || fail "the wheel has $size bytes, expected less than $most"

"$python" -m zipfile --list "$wheel" >"$work/files"
for name in limner/pocket/weights/base/model_index.json limner/pocket/weights/methods/ip_adapter.safetensors \
    limner/methods/measured.json limner/methods/object/lora_dreambooth.py limner/py.typed; do
    grep -q "^$name " "$work/files" || fail "$name is missing in the wheel"
done
! grep -Eq '^(tests|training|docs|results|benchmarks)/' "$work/files" || fail "folders of the repository are in the wheel"

"$python" -m venv "$work/venv"
bin=$work/venv/bin
if [ -n "${LIBRARIES:-}" ]; then
    echo "$LIBRARIES" >"$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/libraries.pth"
    "$bin/python" -m pip install --quiet --no-deps "$wheel"
else
    "$bin/python" -m pip install --quiet "$(grep -o 'torch==[0-9.]*' Makefile)"
    "$bin/python" -m pip install --quiet --constraint constraints.txt "$wheel"
fi

mkdir "$work/elsewhere"
cd "$work/elsewhere"
unset PYTHONPATH
where=$("$bin/python" -c 'import limner; print(limner.__file__)')
case $where in
"$repository"/*) fail "limner is imported from the repository, $where" ;;
"$work"/*) ;;
*) fail "limner is imported from $where, expected it below $work" ;;
esac
export LIMNER_CACHE="$work/cache"
"$bin/limner" --version
"$bin/limner" demo --help >/dev/null
"$bin/limner" doctor
if [ -n "${QUICK:-}" ]; then
    "$bin/limner" paint "a red dog on the beach" --steps 4 --out painted
    [ -s painted/000.png ] || fail "no picture was painted"
else
    "$bin/limner" demo --out demo
    [ -s demo/index.html ] || fail "the demo wrote no page"
fi
echo "the wheel works: $((size / 1000000)) MB"
