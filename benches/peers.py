"""How long the policy takes beside Vowpal Wabbit's squarecb, one thread, 10 arms, 33 numbers.

    pip install vowpalwabbit numpy
    cargo build --release
    python benches/peers.py target/release/pointsman

Vowpal Wabbit gets its examples parsed beforehand (action-dependent features, one shared namespace of 33 dense
numbers), so that only choosing and learning are timed; best of blocks on both sides, in microseconds.
"""

import json
import random
import subprocess
import sys
import time

ARMS, NUMBERS, BLOCKS, CALLS = 10, 33, 20, 200


def best(work, calls=CALLS):
    least = float("inf")
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for i in range(calls):
            work(i)
        least = min(least, (time.perf_counter() - start) / calls)
    return 1e6 * least


def vowpal_wabbit():
    import vowpalwabbit

    learner = vowpalwabbit.Workspace("--cb_explore_adf --squarecb -q UA --quiet")
    chance = random.Random(1)

    def text(label):
        shared = " ".join(f"{j}:{chance.uniform(-0.3, 0.3):.4f}" for j in range(1, NUMBERS))
        lines = [f"shared |U {shared}"]
        for arm in range(ARMS):
            head = f"{arm}:{-chance.random():.3f}:{1 / ARMS} " if label == arm else ""
            lines.append(f"{head}|A arm={arm}")
        return "\n".join(lines)

    asked = [learner.parse(text(None), vowpalwabbit.LabelType.CONTEXTUAL_BANDIT) for _ in range(CALLS)]
    told = [learner.parse(text(i % ARMS), vowpalwabbit.LabelType.CONTEXTUAL_BANDIT) for i in range(CALLS)]
    for example in told:
        learner.learn(example)
    choose = best(lambda i: learner.predict(asked[i]))
    learn = best(lambda i: learner.learn(told[i]))
    return choose, learn, vowpalwabbit.__version__


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/pointsman"
    out = subprocess.run([binary, "policy", "bench", "--only", "speed", "--json"], capture_output=True, check=True)
    ours = [entry["bar"]["figure"] for entry in json.loads(out.stdout)["bars"]]
    print(f"{'':34}{'choose':>10}{'learn':>10}{'publish':>18}")
    print(f"{'pointsman':34}{ours[0]:10.2f}{ours[1]:10.2f}{ours[2]:11.2f} a model")
    choose, learn, version = vowpal_wabbit()
    print(f"{'Vowpal Wabbit ' + version + ' squarecb':34}{choose:10.2f}{learn:10.2f}{'-':>18}")


if __name__ == "__main__":
    main()
