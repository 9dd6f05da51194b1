// SPDX-License-Identifier: Apache-2.0
// Manifests of any text: what is refused is refused with a reason, what is accepted has a name.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "cli/manifest/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 16384) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const mesh::manifest::Manifest manifest = mesh::manifest::Decode({{"fuzz.yaml", text}});
  if (!manifest.ok() && manifest.diagnostics.empty()) std::abort();
  for (const mesh::manifest::Object& object : manifest.objects) {
    if (object.position.line < 1) std::abort();
  }
  return 0;
}
