// SPDX-License-Identifier: Apache-2.0
// The time line of a CronJob: "*/5 8-17 * * mon-fri", "@daily", "@every 1h30m".
#pragma once

#include <string>
#include <string_view>

namespace mesh::schema {

// What is wrong with the line; empty when it is one. Five fields (minute, hour, day of month,
// month, day of week) of lists of *, ?, N, A-B, each with /STEP; names of months and days in any
// case; or one of @yearly @annually @monthly @weekly @daily @midnight @hourly, or @every DURATION.
// Sunday is 0 only. A time zone before it (TZ=, CRON_TZ=) is not looked at.
std::string CheckCronLine(std::string_view line);

}  // namespace mesh::schema
