"""Proves that ci/check_tree.py finds each kind of fault, and nothing in a clean tree."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "ci" / "check_tree.py"
HEADER = "// What it is for.\n#pragma once\n"


def check(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        ran = subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True)
        return ran.returncode, ran.stdout


class CheckTreeTest(unittest.TestCase):
    def assert_found(self, name, text, message):
        code, printed = check({name: text})
        self.assertEqual(code, 1, printed)
        self.assertIn(name + ":", printed)
        self.assertIn(message, printed)

    def test_a_clean_tree_passes(self):
        files = {
            "network/a.h": HEADER,
            "coordinator/core/b.cc": '#include "network/a.h"\nint F() {\n  return 1;\n}\n',
            "cli/c.cc": '#include "trainyard/v1/client.pb.h"\n',
            # A long struct of short functions is no long function.
            "cli/d.cc": "class C {\n  struct S {\n" + "    void F() {\n    }\n" * 40 + "  };\n};\n",
        }
        self.assertEqual(check(files), (0, "the tree keeps its rules\n"))

    def test_a_forbidden_include_is_found(self):
        self.assert_found("network/a.cc", '#include "kernels/graph.h"\n', "may include network only")
        self.assert_found("cli/a.cc", '#include "coordinator/core/step.h"\n', "cli, proto only")
        self.assert_found("coordinator/core/a.cc", '#include "coordinator/store/blobs.h"\n', "may include")
        self.assert_found("coordinator/core/a.cc", '#include "trainyard/v1/spec.pb.h"\n', "may include")
        self.assert_found("coordinator/a.cc", '#include "worker/engine/trainer.h"\n', "may include")

    def test_a_heavy_library_in_the_engine_is_found(self):
        self.assert_found("worker/engine/a.cc", "#include <grpcpp/grpcpp.h>\n", "builds without gRPC")
        self.assert_found("kernels/a.cc", '#include "absl/status/status.h"\n', "builds without gRPC")

    def test_a_long_file_line_or_function_is_found(self):
        self.assert_found("cli/a.cc", "int a;\n" * 601, "601 lines")
        self.assert_found("cli/a.cc", "//" + "x" * 100 + "\n", "102 columns")
        body = "  Call();\n" * 70
        self.assert_found("cli/a.cc", "void F() {\n" + body + "}\n", "a function of 72 lines")
        self.assert_found("cli/a.cc", "class C {\n  void F() {\n" + body + "  }\n};\n", "of 72 lines")

    def test_a_header_without_purpose_or_guard_is_found(self):
        self.assert_found("cli/a.h", "#pragma once\n", "says what it is for")
        self.assert_found("cli/a.h", "// What it is for.\n", "#pragma once")

    def test_a_path_of_one_machine_is_found(self):
        self.assert_found("docs/a.md", "see /root/x\n", "a path of one machine")
        self.assert_found("README.md", "cd /home/ann/src\n", "a path of one machine")


if __name__ == "__main__":
    unittest.main()
