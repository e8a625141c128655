"""``python -m benchmarks`` measures speed and accuracy; ``--help`` lists the commands."""

from benchmarks.app import bench

if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")
