// SPDX-License-Identifier: Apache-2.0
// What `describe` says of a pod's environment, mounts and volumes; private to describe*.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/output/describe_text.h"

namespace mesh::cli {

// A script in a manifest has many lines; each is indented. Tabs would become columns. At least one.
std::vector<std::string> LinesOf(std::string_view text);

void DescribeEnvironment(const v1::Container& container, Text* text);
// Nothing where there are none.
void DescribeMounts(const v1::Container& container, Text* text);
void DescribeVolumes(const v1::PodSpec& spec, int level, Text* text);

}  // namespace mesh::cli
