// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <termios.h>

#include <optional>

#include "mesh/v1/node.pb.h"

namespace mesh::cli {

// Puts a terminal into raw mode: keys go to the container as they are. Restored at the end.
class RawTerminal {
 public:
  // Does nothing when `fd` is no terminal.
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  const int fd_;
  std::optional<termios> before_;
};

// nullopt when `fd` is no terminal.
std::optional<v1::TerminalSize> SizeOfTerminal(int fd);

}  // namespace mesh::cli
