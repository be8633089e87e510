"""Proves that what the documents link to is there. Usage: documents_test.py"""

import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


def anchors(text):
    """-> those that GitHub and GitLab give to headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(document, text):
    """-> the links of a document that lead nowhere."""
    found = []
    for link in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        to = (document.parent / path) if path else document
        if to != document and not to.exists():
            found.append(link)
        elif anchor and anchor not in anchors(text if to == document else to.read_text(encoding="utf-8")):
            found.append(link)
    return found


class DocumentsTest(unittest.TestCase):
    def test_every_link_leads_somewhere(self):
        listed = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, cwd=ROOT)
        files = [ROOT / name for name in listed.stdout.split()] or sorted(ROOT.glob("*.md")) + sorted(
            (ROOT / "docs").glob("*.md"))
        self.assertIn(ROOT / "README.md", files)
        found = {str(file.relative_to(ROOT)): broken(file, file.read_text(encoding="utf-8")) for file in files}
        self.assertEqual({name: links for name, links in found.items() if links}, {})

    def test_links_that_lead_nowhere_are_found(self):
        text = ("# A heading, `odd`\n[a](README.md) [b](none.md) [c](#a-heading-odd) [d](#none) [e](README.md#none)\n"
                "[f](README.md#more) [g](https://localhost/none)\n```\n[h](code.md)\n```\n")
        self.assertEqual(broken(ROOT / "x.md", text), ["none.md", "#none", "README.md#none"])


if __name__ == "__main__":
    unittest.main()
