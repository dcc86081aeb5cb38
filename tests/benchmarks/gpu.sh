#!/usr/bin/env bash
# The paper's recipe and ours on a GPU: tiger and hand of ../shared/data at 128 pixels, 16 keypoints, VGG19, then their scores.
#
#   bash tests/benchmarks/gpu.sh [STEPS] [SHARED] [OUT]
#
# Four runs, one after the other, on one GPU. SHARED is the folder that holds data/ and weights/. OUT keeps the runs.
# Copy metrics, samples and results.txt of OUT home; README's table takes its GPU numbers from results.txt alone.
set -euo pipefail
steps=${1:-20000} shared=${2:-../shared} out=${3:-runs/gpu}
weights=$shared/weights/vgg19_conv4_4_normed.safetensors
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$out/results.txt"
python3 -c 'import torch; print("torch", torch.__version__)' | tee -a "$out/results.txt"

python3 -m tests.benchmarks.speed --shared "$shared" | tee -a "$out/results.txt"

for set in tiger hand; do
  flip=$([ $set = tiger ] && echo false || echo true)
  for recipe in paper ppl; do
    python3 -m ppl_cli train folder --data "$shared/data/$set" --out "$out/$set-$recipe" --overwrite --device cuda --set recipe=$recipe \
      --perceptual-weights "$weights" --set train.flip=$flip --set train.steps="$steps"
    tail -n 1 "$out/$set-$recipe/metrics.csv" | tee -a "$out/results.txt"
    python3 -m ppl_cli infer "$out/$set-$recipe" "$shared/data/$set" --out "$out/$set-$recipe-poses" --overwrite --overlay
    if [ $set = tiger ]; then
      echo "$set $recipe" | tee -a "$out/results.txt"
      python3 -m ppl_cli eval "$out/$set-$recipe" --data "$shared/data/$set" --penalty stretches --out "$out/$set-$recipe-eval" \
        --occlusion random center --overwrite | tee -a "$out/results.txt"
    fi
  done
done
