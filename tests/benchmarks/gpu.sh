#!/usr/bin/env bash
# Everything a GPU is asked for: tests, speed against the plain path, real sets learned at the paper's size and their scores.
#
#   bash tests/benchmarks/gpu.sh SHARED OUT SECONDS
#
# SHARED holds data/tiger, data/mirror_mouse and weights/vgg19_conv4_4_normed.safetensors; at most 8 small files go to OUT. It
# keeps to SECONDS (540 suit it), and a part that fails does not end the rest. PARTS="tests speed" leaves out the rest,
# SETS="tiger" learns only that, and LOSS=multiscale learns without VGG19's features (never tried on a GPU). On a fresh machine without a network, with Python 3.12, torch, torchvision, triton, numpy,
# pillow, matplotlib, safetensors, typer, rich, tqdm, pyyaml, scipy and pytest: bring wheels (CPython 3.12, x86-64) of pydantic,
# pydantic-core, annotated-types, typing-extensions, typing-inspection, filelock and psutil. Then, in the repository:
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
loss=(--perceptual-weights "$weights") && [ "${LOSS:-perceptual}" = perceptual ] || loss=(--set loss.kind="$LOSS")
parts=${PARTS:-tests speed learn} sets=${SETS:-tiger mirror_mouse}
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

if [[ $parts = *tests* ]]; then
part tests
within "${TESTS:-140}" python3 -m pytest tests/test_cuda.py tests/model/test_skeleton_triton.py -q -s -rfE --show-capture=no \
  --durations=8 -p no:cacheprovider | tail -n 80
fi

if [[ $parts = *speed* ]]; then
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
measure skeleton-ours 30 '{"what": "skeleton", "ours": true, "batch": 64}'
measure skeleton-plain 30 '{"what": "skeleton", "ours": false, "batch": 64}'
measure doubling-ours 30 "{\"what\": \"doubling\", \"ours\": true, \"batch\": $batch}"
measure doubling-plain 30 "{\"what\": \"doubling\", \"ours\": false, \"batch\": $batch}"
infer="\"batch\": 32, \"formats\": [\"csv\"], \"model\": \"$work/files/model.safetensors\", $files"
measure infer 60 "{\"what\": \"infer\", \"ours\": true, $infer}"
profile="\"what\": \"profile\", \"ours\": true, \"steps\": 3, \"out\": \"$out/profile.txt\", \"more\": [\"train.compile=$compile\"]"
measure profile 60 "{$profile, $step}"
fi

score() { # SET: its error on annotated images, and poses of eight frames spread over the set, drawn side by side
  local run=$work/$1
  within 90 python3 -m ppl_cli eval "$run" --data "$shared/data/$1" --device "$device" --protocol regression,ridge,pck \
    --penalty stretches --out "$run-eval"
  mkdir "$run-frames"
  find "$shared/data/$1" -name '*.jpg' -o -name '*.png' | sort |
    awk '{ all[NR] = $0 } END { for (i = 0; i < 8; i++) print all[1 + int(i * (NR - 1) / 7)] }' |
    xargs -d '\n' cp -t "$run-frames"
  within 60 python3 -m ppl_cli infer "$run" "$run-frames" --out "$run-poses" --device "$device" --overlay
  python3 - "$run-poses/overlay" "$run-poses.jpg" <<'P'
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
  cp "$(ls -t "$run"/samples/step-*.png | head -n 1)" "$run-samples.png"
  tar -C "$work" -czf "$out/$1.tar.gz" "$1-eval" "$1-poses.jpg" "$1-samples.png" "$1/metrics.csv"
}

learn() { # SET SECONDS: as many steps as fit, at the paper's size with 12 keypoints
  part "learn $1"
  local steps begun=$SECONDS
  steps=$(python3 -c "print(max(int(max($2 - 25, 10) / ${STEP_SECONDS:-0.05} / 100) * 100, 100))")
  steps=${FIXED_STEPS:-$steps}
  echo "$steps steps in $2 s"
  # SIGTERM ends a step, saves and stops, should it take longer.
  timeout -s TERM -k 30 "$2" python3 -m ppl_cli train folder --data "$shared/data/$1" --out "$work/$1" --device "$device" \
    "${loss[@]}" --set model.keypoints=12 --set train.flip=false --set train.steps="$steps" \
    --set train.compile="$compile" --set train.sample_every=$((steps / 4)) --set train.save_every=$((steps / 2)) \
    --set train.batch="$batch"
  echo "ended after $((SECONDS - begun)) s"
}

if [[ $parts = *learn* ]]; then
each=$((($(left) - 60) / $(wc -w <<<"$sets")))
for set in $sets; do
  learn "$set" "$each"
  score "$set" & # beside the start of the next one
done
wait
fi
part end
