#!/usr/bin/env bash
# The paper's recipe on a GPU: tiger and hand of ../shared/data at 128 pixels, 16 keypoints, VGG19, then their scores.
#
#   bash tests/benchmarks/gpu.sh [STEPS] [SHARED] [OUT]
#
# Two runs, one after the other, on one GPU. SHARED is the folder that holds data/ and weights/. OUT keeps the runs.
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
  for recipe in folder folder_lead; do
    # folder: the paper's losses. folder_lead: the same with our two leading losses and revived memory vectors.
    extra=()
    if [ $recipe = folder_lead ]; then
      extra=(--set memory.revive=0.1 --set loss.equivariance=5 --set loss.separation=0.3 --set loss.ease_from=500
             --set loss.ease_to=2000 --set model.links_start=0 --set train.link_rate=0.1)
    fi
    python3 -m ppl_cli train folder --data "$shared/data/$set" --out "$out/$set-$recipe" --overwrite --device cuda \
      --perceptual-weights "$weights" --set train.flip=$flip --set train.steps="$steps" --set reference.cells=16 "${extra[@]}"
    tail -n 1 "$out/$set-$recipe/metrics.csv" | tee -a "$out/results.txt"
    python3 -m ppl_cli infer "$out/$set-$recipe" "$shared/data/$set" --out "$out/$set-$recipe-poses" --overwrite --overlay
    if [ $set = tiger ]; then
      echo "$set $recipe" | tee -a "$out/results.txt"
      python3 -m ppl_cli eval "$out/$set-$recipe" --data "$shared/data/$set" --penalty stretches --out "$out/$set-$recipe-eval" \
        --occlusion random center --overwrite | tee -a "$out/results.txt"
    fi
  done
done
