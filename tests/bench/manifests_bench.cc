// SPDX-License-Identifier: Apache-2.0
// How long reading manifests takes: 2,000 files, those of a folder again and again, are decoded,
// given their defaults and validated, as `apply` does before it asks the server.
//
// usage: manifests_bench FOLDER   (scripts/bench manifests FOLDER)
#include <chrono>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "cli/manifest/manifest.h"
#include "tests/bench/figures.h"

namespace {

constexpr size_t kFiles = 2000;
constexpr int kRounds = 5;

// Seconds for one round; `objects` gets how many were read.
double Round(const std::vector<mesh::manifest::Source>& sources, size_t* objects) {
  *objects = 0;
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < kFiles; ++i) {
    *objects += mesh::manifest::Decode({sources[i % sources.size()]}).objects.size();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return took.count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: manifests_bench FOLDER\n");
    return 2;
  }
  std::istringstream nothing;
  const auto read = mesh::manifest::ReadSources({argv[1]}, /*recursive=*/true, nothing);
  if (read.sources.empty()) {
    std::fprintf(stderr, "manifests_bench: error: no manifests in %s\n", argv[1]);
    return 1;
  }
  double best = 0;
  size_t objects = 0;
  for (int i = 0; i < kRounds; ++i) {
    const double seconds = Round(read.sources, &objects);
    if (i == 0 || seconds < best) best = seconds;
  }
  std::printf("%zu files of %zu, %zu objects read: %.3f s\n", kFiles, read.sources.size(), objects,
              best);
  const mesh::bench::Figure figure = {.name = "manifests_2000_files", .value = best, .unit = "s"};
  std::printf("%s\n", mesh::bench::ToJson(figure).c_str());
  return 0;
}
