#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the sources that a compiler does not check: who may include whom, calls that have a better
place, line length, licence lines. Prints one line per finding; exits 1 when there is one."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Folder -> what it must not include (prefixes of the include path).
LAYERS = {
    "common/": ["api/", "agent/", "bpf/", "cli/", "cni/", "controlplane/", "dataplane/", "mesh/v1/",
                "grpc", "bpf/libbpf.h"],
    "dataplane/": ["agent/", "cli/", "cni/", "controlplane/", "mesh/v1/", "grpc"],
    "controlplane/": ["agent/", "cli/", "cni/", "dataplane/", "mesh/shared/", "bpf/"],
    "cni/": ["agent/", "cli/", "controlplane/", "dataplane/", "mesh/shared/", "bpf/", "grpc"],
    "cli/": ["agent/", "controlplane/", "dataplane/", "mesh/shared/", "bpf/"],
    "agent/": ["cli/", "controlplane/"],
}

# Pattern, folders it is banned in, files that may, reason.
BANNED = [
    (r"\b(?:usleep|sleep_for|sleep_until)\s*\(|(?<![\w.>])sleep\s*\(", ("",), (), "wait for a condition with a deadline"),
    (r"system_clock::now|\btime\s*\(\s*(?:NULL|nullptr|0)\s*\)", ("",), (), "take the clock from common/event_loop.h or absl::Now at the edge"),
    (r"(?<![\w:.])rand\s*\(\s*\)|random_device|std::mt19937", ("",), ("common/random.cc",), "use common/random.h"),
    (r"absl::Now\s*\(", ("controlplane/controllers/", "controlplane/scheduler/"), (), "pure code gets `now` as an argument"),
    (r"\bbpf_map_(?:update|lookup|delete)_elem\s*\(|\bbpf_object__", ("agent/", "dataplane/tables/", "dataplane/plan/"), (), "only dataplane/bpf talks to libbpf"),
    (r"\bstd::system\s*\(|(?<![\w:.>])(?:popen|system)\s*\(", ("",), (), "run programs without a shell"),
]

MAX_COLUMNS = 110  # the formatter breaks at 100; what it cannot break may be a little longer
SOURCE = re.compile(r"\.(cc|h|c)$")


def files():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    return [name for name in out.splitlines() if SOURCE.search(name) and (ROOT / name).is_file()]


def check(name, text):
    findings = []
    lines = text.splitlines()
    if not any("SPDX-License-Identifier:" in line for line in lines[:3]):
        findings.append((1, "no SPDX-License-Identifier"))
    banned_layers = next((b for prefix, b in LAYERS.items() if name.startswith(prefix)), [])
    in_tests = name.startswith("tests/")
    for number, line in enumerate(lines, 1):
        include = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if include:
            for prefix in banned_layers:
                if include.group(1).startswith(prefix):
                    findings.append((number, f"{name.split('/')[0]} must not include {include.group(1)}"))
            continue
        if len(line) > MAX_COLUMNS and "http" not in line and "\t" not in line and not in_tests:
            findings.append((number, f"{len(line)} columns, more than {MAX_COLUMNS}"))
        if "deadline" in line:  # gRPC wants wall-clock deadlines
            line = line.replace("system_clock::now", "")
        code = re.sub(r'"(?:\\.|[^"\\])*"', '""', line.split("//")[0])
        for pattern, folders, allowed, reason in BANNED:
            if name in allowed or name.startswith("bpf/"):
                continue
            if any(name.startswith(folder) for folder in folders) and re.search(pattern, code):
                findings.append((number, f"`{re.search(pattern, code).group(0)}`: {reason}"))
    return findings


def main():
    count = 0
    for name in files():
        for number, finding in check(name, (ROOT / name).read_text(errors="replace")):
            print(f"{name}:{number}: {finding}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
