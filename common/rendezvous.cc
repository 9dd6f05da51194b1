// SPDX-License-Identifier: Apache-2.0
#include "common/rendezvous.h"

namespace mesh {

// FNV-1a of both names, mixed (splitmix64) so that every node has its own order of Services.
uint64_t RendezvousWeight(const std::string& service, const std::string& node) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::string* part : {&service, &node}) {
    for (const char c : *part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ 0xff) * 0x100000001b3;
  }
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

}  // namespace mesh
