// SPDX-License-Identifier: Apache-2.0
// Figures of a process for Prometheus, served over HTTP at /metrics.
//
// They are read when they are asked for and kept nowhere: whoever counts keeps a number, and
// `collect` writes it down with a name, a line of help and labels. Names have a unit at their end
// (_total, _bytes, _seconds); label values come from bounded sets.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mesh {

// How long things took, in buckets that are fixed. Not thread-safe.
class DurationHistogram {
 public:
  // Upper bounds, growing; what is above all of them counts too.
  explicit DurationHistogram(std::vector<absl::Duration> bounds);
  void Add(absl::Duration duration);
  // What others have counted: as counts() has them, of at most as many; `sum` is that of all.
  void Add(const std::vector<uint64_t>& counts, absl::Duration sum);

  const std::vector<absl::Duration>& bounds() const { return bounds_; }
  // Of each bound, not of those below it; one more for what is above.
  const std::vector<uint64_t>& counts() const { return counts_; }
  uint64_t count() const { return count_; }
  absl::Duration sum() const { return sum_; }

 private:
  std::vector<absl::Duration> bounds_;
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  absl::Duration sum_;
};

// What one collection writes to. A name may come several times, with other labels.
class MetricsWriter {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;
  virtual ~MetricsWriter() = default;
  virtual void Counter(const std::string& name, const std::string& help, Labels labels,
                       double value) = 0;
  virtual void Gauge(const std::string& name, const std::string& help, Labels labels,
                     double value) = 0;
  // In seconds.
  virtual void Histogram(const std::string& name, const std::string& help, Labels labels,
                         const DurationHistogram& value) = 0;
};

using MetricsCollect = std::function<void(MetricsWriter&)>;

// The text of /metrics.
std::string MetricsText(const MetricsCollect& collect);

class MetricsServer {
 public:
  // `listen`: host:port; port 0 takes a free one. `collect` runs on a thread of the server's, one
  // call at a time, until this is destroyed.
  // FAILED_PRECONDITION when the address is taken or not of this machine.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              MetricsCollect collect);
  virtual ~MetricsServer() = default;
  virtual int port() const = 0;
};

}  // namespace mesh
