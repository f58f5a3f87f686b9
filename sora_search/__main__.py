"""`python -m sora_search` is `sora-search`."""

from sora_search.cli import main

if __name__ == "__main__":
    main()
