// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"

#include <string>

#include "spdlog/sinks/stdout_color_sinks.h"

namespace mesh {

void InitLog(std::string_view level) {
  auto logger = spdlog::stderr_color_mt("mesh");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%-5l%$ %v");
  logger->set_level(spdlog::level::from_str(std::string(level)));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace mesh
