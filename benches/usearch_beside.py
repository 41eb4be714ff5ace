"""usearch on the vectors of benches/cache.rs, which come on the standard input. Says so and ends where it is not installed."""

import sys
import time

try:
    import numpy as np
    from usearch.index import Index
except ImportError as missing:
    print(f"{'-':>9}  usearch is not here ({missing}); `pip install usearch numpy` sets it beside the scan")
    sys.exit()

data = sys.stdin.buffer.read()
rows, queries, width = np.frombuffer(data, "<u4", 3)
best = np.frombuffer(data, "<u4", queries, 12)
rest = np.frombuffer(data, "<f4", offset=12 + 4 * queries).reshape(-1, width)
vectors, asked = rest[:rows], rest[rows:]
index = Index(ndim=int(width), metric="cos", dtype="i8", connectivity=16, expansion_add=128, expansion_search=256)
start = time.perf_counter()
index.add(np.arange(rows), vectors, threads=1)
built = time.perf_counter() - start
for search in (64, 256, 1024):
    index.expansion_search = search
    taken, right = [], 0
    for round in range(4):
        for at, query in enumerate(asked):
            start = time.perf_counter()
            found = index.search(query, 8, threads=1)
            taken.append(1e3 * (time.perf_counter() - start))
            if round == 0:
                keys = found.keys
                right += int(keys[np.argmax(vectors[keys] @ query)]) == best[at]
    block = len(taken) // 8
    quiet = min(sorted(taken[at : at + block])[block // 2] for at in range(0, 8 * block, block))
    taken.sort()
    size = index.memory_usage / rows
    name = f"usearch i8, ef {search}"
    print(f"{rows:>9}  {name:<22} {taken[0]:>9.3} {quiet:>9.3} {taken[len(taken) // 2]:>9.3}  {right / queries:>8.3}  {size:.1f}")
print(f"{rows:>9}  usearch, building        {built:.1f} s")
