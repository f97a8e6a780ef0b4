#!/bin/bash
# A sweep on several nodes of Slurm. From a checkout with an environment in .venv, on a file system that all nodes share:
#   sbatch cluster/slurm.sh experiment=digits sweep.name=digits storage=/shared/moda
# Options of sbatch before the file go before those below. To stop: scancel --batch --signal=TERM JOB. The same command
# again resumes, and so does a job that Slurm requeues.
#SBATCH --job-name=moda
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=moda-%j.log
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck disable=SC1091  # made by the user
source .venv/bin/activate

# A Ray of this job's own, which asks for a token that nobody else knows.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
RAY_ADDRESS=$(hostname):$((20000 + SLURM_JOB_ID % 20000))
RAY_FOLDER=/tmp/moda-ray-$SLURM_JOB_ID
RAY_CLIENT_PORT=$((40000 + SLURM_JOB_ID % 20000)) # unused, and otherwise the same for all jobs of a node
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # which srun does not take over by itself
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_ADDRESS RAY_FOLDER RAY_CLIENT_PORT RAY_USAGE_STATS_ENABLED=0
# shellcheck disable=SC2016  # expanded on each node
srun --overlap --open-mode=append --output="moda-$SLURM_JOB_ID-ray.log" bash -c '
    ulimit -n "$(ulimit -Hn)"
    options=(--block --num-cpus="$SLURM_CPUS_PER_TASK" --temp-dir="$RAY_FOLDER" --dashboard-agent-listen-port=0
             --min-worker-port=0 --max-worker-port=0)
    if [ "$SLURM_NODEID" = 0 ]; then
        for _ in 1 2 3 4 5; do # again where a busy node was too slow
            env -u RAY_ADDRESS ray start --head --port="${RAY_ADDRESS##*:}" --include-dashboard=false \
                --ray-client-server-port="$RAY_CLIENT_PORT" "${options[@]}" && exit
            pkill -KILL -f "$RAY_FOLDER/" || true
        done
        exit 1
    fi
    until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do sleep 1; done
    while ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do
        ray start --address="$RAY_ADDRESS" "${options[@]}" && exit
    done
' &
nodes=$!
# shellcheck disable=SC2329  # by the trap
end_nodes() {
    kill "$nodes" 2>/dev/null || true
    wait "$nodes" || true
    srun --overlap rm -rf "$RAY_FOLDER"
}
trap end_nodes EXIT
until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do
    kill -0 "$nodes" || exit 1
    sleep 1
done

# SIGTERM is for the sweep, which stops its trials in good order.
python -m orchestrator sweep "$@" &
driver=$!
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do # the signal came in between
    code=0
    wait "$driver" || code=$?
done
exit "$code"
