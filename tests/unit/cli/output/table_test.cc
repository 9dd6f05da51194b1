// SPDX-License-Identifier: Apache-2.0
#include "cli/output/table.h"

#include "cli/output/tab_writer.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

TEST(Format, PutsThreeSpacesBetweenColumnsAndNothingAfterTheLast) {
  Table table{{"NAME", "STATUS", "AGE"}, {{"web-1", "Running", "5s"}, {"a", "Pending", "12m"}}};

  EXPECT_EQ(Format(table),
            "NAME    STATUS    AGE\n"
            "web-1   Running   5s\n"
            "a       Pending   12m\n");
}

TEST(Format, KeepsColumnsAtLeastSixWide) {
  Table table{{"A", "B"}, {{"1", "2"}}};

  EXPECT_EQ(Format(table), "A     B\n1     2\n");
}

TEST(Format, LeavesOutTheHeadersAndTheirWidth) {
  Table table{{"LONG-HEADER", "B"}, {{"1", "2"}}};

  EXPECT_EQ(Format(table, /*with_headers=*/false), "1     2\n");
}

TEST(Format, CountsCharactersNotBytes) {
  Table table{{"NAME", "B"}, {{"größe", "1"}, {"plain", "2"}}};

  EXPECT_EQ(Format(table), "NAME    B\ngröße   1\nplain   2\n");
}

TEST(TableStream, PrintsHeadersOnceAndNeverShrinks) {
  TableStream stream;

  std::string first = stream.Next({{"NAME", "AGE"}, {{"a-long-name", "1s"}}});
  std::string second = stream.Next({{"NAME", "AGE"}, {{"b", "2s"}}});

  EXPECT_EQ(first, "NAME          AGE\na-long-name   1s\n");
  EXPECT_EQ(second, "b             2s\n");
}

TEST(AlignTabs, AlignsNeighbouringLinesTogetherAndOthersApart) {
  EXPECT_EQ(
      AlignTabs("Name:\tweb\nNamespace:\tdefault\nConditions:\n  Type\tStatus\n  Ready\tTrue\n"),
      "Name:       web\n"
      "Namespace:  default\n"
      "Conditions:\n"
      "  Type   Status\n"
      "  Ready  True\n");
}

}  // namespace
}  // namespace mesh::cli
