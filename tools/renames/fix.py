"""fix(path, old, new): exact replacements that must be found."""
from pathlib import Path
import sys
ROOT = Path.cwd()
S = "src/scrape_do_celery/"
bad = 0
def fix(path, *pairs):
    global bad
    p = ROOT / (path if path.split("/")[0] in ("tests","docs","src","benchmarks","config","examples","README.md","Makefile","worker","tasks","pyproject.toml") and (ROOT / path).exists() else S + path)
    s = p.read_text()
    for old, new in zip(pairs[::2], pairs[1::2]):
        if old not in s:
            print("NOT FOUND", p, repr(old)); bad += 1
        s = s.replace(old, new)
    p.write_text(s)
