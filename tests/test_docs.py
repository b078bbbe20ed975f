"""The documentation is true: its code runs, its links lead somewhere."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language="python"):
    """The blocks of code, each behind as many empty lines as stand above it: errors and tapes then show lines of the
    page.
    """
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return ["\n" * text.count("\n", 0, m.start(1)) + m[1] for m in found]


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        *(ROOT / f"docs/{name}.md" for name in ("tutorial", "games", "transport", "metrics", "inspect")),
    ],
    ids=lambda p: p.name,
)
def test_the_code_of_a_page_runs(page, tmp_path, capsys, monkeypatch):
    from minigan.autodiff.primitive import registry

    monkeypatch.chdir(tmp_path)
    before, session = dict(registry), {"__name__": f"docs.{page.stem}"}
    try:
        code = blocks(page)
        assert code
        for block in code:
            exec(compile(block.replace("/tmp/", f"{tmp_path}/"), str(page), "exec"), session)
    finally:
        registry.clear()
        registry.update(before)
    printed = capsys.readouterr().out
    assert printed.count("\n") >= 1
    if page.stem == "games":
        for shown in ("Simultaneous 1.04403", "ExtraGradient 0.95817", "[0.+0.5j 0.-0.5j]", "[-0.15+0.4769696j"):
            assert shown in printed
    if page.stem == "transport":
        assert "the certificate holds to 1e-9" in printed and "\n5.0" in printed
        assert re.search(r"primal  ⟨C, P⟩ +0\.151485788113695", printed)
    if page.stem in ("metrics", "inspect"):
        shown = printed.replace(f"{page.parent}{os.sep}", "").replace(f"{ROOT}{os.sep}", "")
        shown = shown.splitlines()
        for line in (line for block in blocks(page, "text") for line in block.splitlines() if line):
            begin, cut, _ = line.partition(" …")  # what rounding decides is left out
            assert any(s.startswith(begin) for s in shown) if cut else line in shown, line
    if page.stem == "metrics":
        assert re.search(r"floor 0.0014\d*, n=2500", printed)
    if page.stem == "tutorial":
        assert float(re.search(r"accuracy ([\d.]+)", printed)[1]) > 0.7
        assert "at the first layer's output: (4, 64)" in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to {missing}"


def test_quick_start_is_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Quick start\n(.*?)^## ", text, re.M | re.S)[1]
    commands = re.findall(r"^```\w*\n(.*?)^```", section, re.M | re.S)
    assert len(commands) == 2 and all(len(command.strip().splitlines()) == 1 for command in commands)


def test_every_page_of_the_docs_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/{page.name}" in text for page in PAGES[1:])


def test_doctests():
    import doctest
    import importlib

    names = ["minigan", "minigan.backend.random", "minigan.autodiff.modes", "minigan.autodiff.engine"]
    names += ["minigan.autodiff.check", "minigan.nn.layers", "minigan.optim.averages", "minigan.objectives"]
    names += ["minigan.transport", "minigan.transport.exact", "minigan.transport.funnels", "minigan.display"]
    names += ["minigan.inspect.watch", "minigan.inspect.graph"]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert all(r.failed == 0 for r in results) and sum(r.attempted for r in results) > 15
