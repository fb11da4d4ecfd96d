"""Checks a checkout against its own documents. Prints a line "FILE:LINE: what is wrong" for each
finding, and exits with 1 where there are some.

usage: layers.py includes ROOT    every #include of common/ and tools/, against ARCHITECTURE.md's table
       layers.py tags ROOT        no two public structs, unions or enums share a tag
       layers.py paths ROOT       paths and identifiers that the documents name exist
       layers.py reading ROOT     docs/READING.md: its number of files, and of lines within 10 %

SPDX-License-Identifier: AGPL-3.0-or-later"""
import pathlib, re, sys

ROOT = pathlib.Path(sys.argv[2])
SUFFIXES = (".c", ".h", ".cu", ".cuh")
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "docs/READING.md", "docs/GLOSSARY.md"]
# A path: from the root, from common/, or from common/backend/. Placeholders have capitals: tools/NAME.c.
PATH = re.compile(r"(?<![\w/.~-])((?:[a-z0-9_-]+/)+[A-Za-z0-9_.-]*[A-Za-z0-9_]/?)")
STARTS = [ROOT, ROOT / "common", ROOT / "common/backend"]


def sources(*folders):
    return sorted(f for folder in folders for f in (ROOT / folder).rglob("*") if f.suffix in SUFFIXES)


def table():
    """{folder of common/ or "tools": what it may include}, in the table's order. What it may include are names of folders
    and of files below common/."""
    rows = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        cells = [c.strip() for c in line.strip("| ").split(" | ")]
        if len(cells) == 3 and re.fullmatch(r"(tools/|common/\w+)", cells[0]):
            rows[cells[0].removeprefix("common/").rstrip("/")] = cells[2]
    if not rows:
        raise SystemExit("ARCHITECTURE.md: no table of folders")
    names, knows = [n for n in rows if n != "tools"], {}
    for name, text in rows.items():
        words = {w.strip() for w in text.split(",")}
        if words == {"everything below"}:
            words = set(names)
        elif words == {"all above"}:
            words = set(names[:names.index(name)])
        knows[name] = words - {"nothing"}
    return knows


def includes():
    found, knows = [], table()
    for file in sources("common", "tools"):
        parts = file.relative_to(ROOT).parts
        folder = parts[1] if parts[0] == "common" else "tools"
        if folder not in knows:
            found.append(f"{file.relative_to(ROOT)}:1: {folder} is not in ARCHITECTURE.md's table")
            continue
        for n, line in enumerate(file.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m or not (ROOT / "common" / m[1]).exists():  # tests/cuda/shim.h is not of common/
                continue
            target = m[1].split("/")[0]
            if target != folder and target not in knows[folder] and m[1] not in knows[folder]:
                allowed = ", ".join(sorted(knows[folder])) or "nothing"
                found.append(f"{file.relative_to(ROOT)}:{n}: {folder} may not include {m[1]} (it knows {allowed})")
    return found


def tags():
    """A tag is public where a header defines it, or declares it and one .c file of that folder defines it."""
    defined, declared = {}, {}
    for file in sources("common"):
        text = file.read_text()
        for m in re.finditer(r"^(struct|union|enum)\s+(\w+)\s*([{;])", text, re.M):
            at = f"{file.relative_to(ROOT)}:{text[:m.start()].count(chr(10)) + 1}"
            if m[3] == "{":
                defined.setdefault(m[2], []).append((file, at))
            elif file.suffix == ".h":
                declared.setdefault((m[2], file.parent), at)
    found = []
    for tag, where in sorted(defined.items()):
        public = [(file, at) for file, at in where if file.suffix == ".h" or (tag, file.parent) in declared]
        if len({file for file, _ in public}) > 1:  # one file may have it twice, under #if and #else
            public = [at for _, at in public]
            found.append(f"{public[1]}: the tag '{tag}' is also that of {', '.join([public[0], *public[2:]])}")
    return found


def exists(path):
    return any((start / path).exists() for start in STARTS)


def all_words():
    """Every word of the sources, scripts and pages."""
    words = set(re.findall(rb"\w+", (ROOT / "Makefile").read_bytes())) if (ROOT / "Makefile").exists() else set()
    for folder in ("common", "tools", "man", "tests", "bench", "examples"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and file.suffix != ".md" and not (ROOT / "tests/data") in file.parents:
                words.update(re.findall(rb"\w+", file.read_bytes()))
    return words


def paths():
    found, words = [], all_words()
    for name in DOCUMENTS:
        if not (ROOT / name).exists():
            found.append(f"{name}:1: missing")
            continue
        folder = (ROOT / name).parent
        for n, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            named = re.findall(r"\]\(([^)#:]+)\)", line)
            found += [f"{name}:{n}: no {p}" for p in named if not (folder / p).exists()]
            if line.startswith("    "):  # an example: its files need not be ours
                continue
            plain = re.sub(r"\[[^\]]*\]\([^)]*\)|https?://\S+", "", line)  # links were checked above
            for p in PATH.findall(plain):
                known = p.split("/")[0]
                unit = len(p.rsplit("/", 1)[1]) == 1  # tokens/s
                placeholder = re.search(r"[A-Z]", p.rsplit(".", 1)[0]) and not p.endswith(".md")
                ours = any((start / known).is_dir() for start in STARTS) and known != "build"
                if ours and not unit and not placeholder and not exists(p):
                    found.append(f"{name}:{n}: no {p}")
            for word in re.findall(r"`(\w+_\w+)(?:\(\))?`", line):
                if word.encode() not in words:
                    found.append(f"{name}:{n}: no '{word}' in the code")
    return found


def reading():
    """Its files are those that its numbered list names in bold."""
    text = (ROOT / "docs/READING.md").read_text()
    files = re.findall(r"\*\*\[([\w./-]+)\]", text)
    said = re.search(r"(\d+) files\b[^.]*?\b([\d,]+) lines", " ".join(text.split()))
    if not said:
        return ["docs/READING.md:1: it does not say 'N files ... N lines'"]
    missing = [f for f in files if not (ROOT / f).is_file()]
    lines = sum(len((ROOT / f).read_text().splitlines()) for f in files if f not in missing)
    n_files, n_lines = int(said[1]), int(said[2].replace(",", ""))
    found = [f"docs/READING.md:1: no {f}" for f in missing]
    if n_files != len(files):
        found.append(f"docs/READING.md:1: it says {n_files} files and names {len(files)}")
    if not missing and abs(n_lines - lines) > lines / 10:
        found.append(f"docs/READING.md:1: it says {n_lines} lines, and they are {lines}")
    shown = re.search(r"(\d+) files and\s+about\s+([\d,]+)\s+lines", " ".join((ROOT / "README.md").read_text().split()))
    if not shown or shown[1] != said[1] or shown[2] != said[2]:
        found.append("README.md:1: it does not say the numbers of docs/READING.md")
    return found


problems = {"includes": includes, "tags": tags, "paths": paths, "reading": reading}[sys.argv[1]]()
print("\n".join(problems), end="\n" if problems else "")
sys.exit(1 if problems else 0)
