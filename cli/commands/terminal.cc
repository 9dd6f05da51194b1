// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace mesh::cli {

RawTerminal::RawTerminal(int fd) : fd_(fd) {
  termios mode;
  if (tcgetattr(fd_, &mode) != 0) return;
  before_ = mode;
  cfmakeraw(&mode);
  tcsetattr(fd_, TCSADRAIN, &mode);
}

RawTerminal::~RawTerminal() {
  if (before_) tcsetattr(fd_, TCSADRAIN, &*before_);
}

std::optional<v1::TerminalSize> SizeOfTerminal(int fd) {
  winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return std::nullopt;
  v1::TerminalSize out;
  out.set_rows(size.ws_row);
  out.set_columns(size.ws_col);
  return out;
}

}  // namespace mesh::cli
