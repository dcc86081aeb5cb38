#!/usr/bin/env bash
# Everything a GPU is asked for in one run: tests, speed against the plain path, tiger at the paper's size and its score.
#
#   bash tests/benchmarks/gpu.sh SHARED OUT SECONDS
#
# SHARED holds data/tiger and weights/vgg19_conv4_4_normed.safetensors; at most 8 small files go to OUT. It keeps to SECONDS
# (540 suit it), and a part that fails does not end the rest. On a fresh machine without a network, with Python 3.12, torch,
# torchvision, triton, numpy, pillow, matplotlib, safetensors, typer, rich, tqdm, pyyaml, scipy and pytest: bring wheels
# (CPython 3.12, x86-64) of pydantic, pydantic-core, annotated-types, typing-extensions, typing-inspection and, where the code
# imports them, filelock, psutil and av, with data/tiger and the weights below one folder. Then, in the repository:
#
#   python3 -m pip install --no-index --no-deps --target SITE WHEELS/*.whl
#   PYTHONPATH=SITE bash tests/benchmarks/gpu.sh SHARED OUT 540
#
# Tried without a GPU:
#
#   DEVICE=cpu COMPILE=false STEPS=1 BATCH=2 IMAGES=8 FIXED_STEPS=4 SLOW=2 bash tests/benchmarks/gpu.sh ../shared OUT 900
set -uo pipefail
[ $# = 3 ] || { echo "usage: gpu.sh SHARED OUT SECONDS" >&2; exit 2; }
shared=$1 out=$2 limit=$3 device=${DEVICE:-cuda} compile=${COMPILE:-true} steps=${STEPS:-20} batch=${BATCH:-64}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
exec > >(tee "$out/log.txt") 2>&1
export PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR=$work/inductor
weights=$shared/weights/vgg19_conv4_4_normed.safetensors
left() { echo $((limit - SECONDS)); }
part() { echo "=== $1 (at $SECONDS s)"; }
within() { # SECONDS COMMAND...: ended after so long (times SLOW), or when the whole run must be
  local most=$(($1 * ${SLOW:-1})) rest=$(($(left) - 5))
  shift
  timeout -k 5 $((most < rest ? most : (rest > 1 ? rest : 1))) "$@"
}

part machine
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
python3 -c '
import sys, numpy, pydantic, torch, torchvision
print("Python", sys.version.split()[0], *(f"{m.__name__} {m.__version__}" for m in (torch, torchvision, numpy, pydantic)))' || exit 1

part tests
within "${TESTS:-140}" python3 -m pytest tests/test_cuda.py tests/model/test_skeleton_triton.py -q -s -rfE --show-capture=no \
  --durations=8 -p no:cacheprovider | tail -n 80

part speed
python3 -m tests.benchmarks.speed --make "$work/files" "${IMAGES:-6000}"
measure() { # NAME SECONDS JSON: one measurement, a line of speed.jsonl
  local line
  line=$(within "$2" python3 -m tests.benchmarks.speed --one "$3" 2>"$work/error.txt" | tail -n 1) || tail -n 3 "$work/error.txt"
  echo "{\"name\": \"$1\", \"at\": $SECONDS, \"found\": ${line:-null}}" | tee -a "$out/speed.jsonl"
}
files="\"folder\": \"$work/files/images\", \"shared\": \"$shared\""
step="\"config\": \"folder\", \"batch\": $batch, $files"
measure step-compiled 150 "{\"what\": \"step\", \"ours\": true, \"steps\": $steps, \"more\": [\"train.compile=$compile\"], $step}"
measure step-eager 40 "{\"what\": \"step\", \"ours\": true, \"steps\": $steps, \"more\": [\"train.compile=false\"], $step}"
measure step-plain 60 "{\"what\": \"step\", \"ours\": false, \"steps\": 4, $step}"
measure skeleton-ours 30 '{"what": "skeleton", "ours": true}'
measure skeleton-plain 30 '{"what": "skeleton", "ours": false}'
infer="\"batch\": 32, \"model\": \"$work/files/model.safetensors\", $files"
measure infer 60 "{\"what\": \"infer\", \"ours\": true, $infer}"
profile="\"what\": \"profile\", \"ours\": true, \"steps\": 3, \"out\": \"$out/profile.txt\", \"more\": [\"train.compile=$compile\"]"
measure profile 60 "{$profile, $step}"

part tiger
# As many steps as fit before the score, which takes 100 s with its pictures; 30 s for start and compiling (kernels are kept).
fitting=$(python3 - "$out/speed.jsonl" "$(left)" <<'P'
import json
import sys

found = {row["name"]: row["found"] for row in map(json.loads, open(sys.argv[1]))}
step = next((found[name]["seconds"] for name in ("step-compiled", "step-eager") if found.get(name)), 0.2)
print(max(int((int(sys.argv[2]) - 130) / step / 100) * 100, 100))
P
)
count=${FIXED_STEPS:-$fitting}
echo "$count steps, $(left) s left"
# SIGTERM ends a step, saves and stops, should it take longer.
timeout -s TERM -k 30 $(($(left) > 101 ? $(left) - 100 : 1)) python3 -m ppl_cli train folder --data "$shared/data/tiger" \
  --out "$work/tiger" --device "$device" --perceptual-weights "$weights" --set train.flip=false --set train.steps="$count" \
  --set train.compile="$compile" --set train.sample_every=$((count / 4)) --set train.save_every=$((count / 2)) \
  --set train.batch="$batch"
cp "$work/tiger/metrics.csv" "$out/"
cp "$(ls -t "$work"/tiger/samples/step-*.png | head -n 1)" "$out/samples.png"

part score
within 90 python3 -m ppl_cli eval "$work/tiger" --data "$shared/data/tiger" --device "$device" --protocol regression,ridge,pck \
  --penalty stretches --out "$work/eval"
cp "$work/eval/eval.json" "$out/"
# Poses of eight frames spread over the video, drawn and put side by side.
mkdir "$work/frames"
find "$shared/data/tiger" -name '*.jpg' | sort | awk '{ all[NR] = $0 } END { for (i = 0; i < 8; i++) print all[1 + int(i * (NR - 1) / 7)] }' |
  xargs -d '\n' cp -t "$work/frames"
within 60 python3 -m ppl_cli infer "$work/tiger" "$work/frames" --out "$work/poses" --device "$device" --overlay
python3 - "$work/poses/overlay" "$out/poses.jpg" <<'P'
import sys
from pathlib import Path

from PIL import Image

pictures = [Image.open(file).convert("RGB") for file in sorted(Path(sys.argv[1]).iterdir())]
page = Image.new("RGB", (4 * 480, 2 * 360))
for number, picture in enumerate(pictures[:8]):
    picture.thumbnail((480, 360))
    page.paste(picture, (number % 4 * 480, number // 4 * 360))
page.save(sys.argv[2], quality=90)
P
part end
