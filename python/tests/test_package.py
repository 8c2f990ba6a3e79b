"""What a reader of the README and a type checker see."""

import re
import subprocess
import sys
from pathlib import Path

from conftest import LIMIT, lines

README = Path(__file__).parent.parent / "README.md"


def python(*args, cwd):
    command = [sys.executable, "-W", "error", *args]
    ran = subprocess.run(command, cwd=cwd, timeout=LIMIT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def example():
    return re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]


def test_the_readme_s_lines_run(tmp_path):
    assert "3 entries" in python("-c", example(), cwd=tmp_path)
    tool, raw, record = lines(tmp_path / "audit.jsonl")
    assert (tool, raw) == ({"tool": "bash", "allowed": True}, {"tool": "read_file"})
    assert record["message"] == "log records are entries, too"


def test_the_readme_s_lines_are_typed(tmp_path):
    (tmp_path / "example.py").write_text(example())
    python("-m", "mypy", "--strict", "example.py", cwd=tmp_path)


def test_the_stub_says_what_is_there(tmp_path):
    python("-m", "mypy.stubtest", "spillring", cwd=tmp_path)
