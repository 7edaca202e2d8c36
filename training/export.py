"""Write the averaged weights of a training run as the checkpoint that ships with the motion service.

python -m training.export --run .cache/motion/last.pt
"""

import argparse
import hashlib
from pathlib import Path

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint, save_checkpoint
from training.train_dit import averaged_model


def main() -> None:
    """Export and read back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path(".cache/motion/last.pt"))
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    args = parser.parse_args()
    save_checkpoint(averaged_model(args.run), args.out)
    load_checkpoint(args.out)
    print(f"{args.out} {args.out.stat().st_size} bytes, SHA-256 {hashlib.sha256(args.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
