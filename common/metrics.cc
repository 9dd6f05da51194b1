// SPDX-License-Identifier: Apache-2.0
#include "common/metrics.h"

#include <netdb.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "absl/synchronization/notification.h"
#include "common/check.h"
#include "common/socket_address.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh {
namespace {

// One answers while another client keeps its connection open and says nothing.
constexpr size_t kThreads = 2;
constexpr absl::Duration kKnockEvery = absl::Milliseconds(5);

class FamilyWriter : public MetricsWriter {
 public:
  void Counter(const std::string& name, const std::string& help, Labels labels,
               double value) override {
    Add(name, help, prometheus::MetricType::Counter, std::move(labels)).counter.value = value;
  }
  void Gauge(const std::string& name, const std::string& help, Labels labels,
             double value) override {
    Add(name, help, prometheus::MetricType::Gauge, std::move(labels)).gauge.value = value;
  }
  void Histogram(const std::string& name, const std::string& help, Labels labels,
                 const DurationHistogram& value) override {
    prometheus::ClientMetric::Histogram& out =
        Add(name, help, prometheus::MetricType::Histogram, std::move(labels)).histogram;
    uint64_t below = 0;
    for (size_t i = 0; i < value.counts().size(); ++i) {
      below += value.counts()[i];
      const double bound = i < value.bounds().size() ? absl::ToDoubleSeconds(value.bounds()[i])
                                                     : std::numeric_limits<double>::infinity();
      out.bucket.push_back({below, bound});
    }
    out.sample_count = value.count();
    out.sample_sum = absl::ToDoubleSeconds(value.sum());
  }

  // By name.
  std::vector<prometheus::MetricFamily> Take() {
    std::vector<prometheus::MetricFamily> out;
    for (auto& [name, family] : families_) out.push_back(std::move(family));
    return out;
  }

 private:
  prometheus::ClientMetric& Add(const std::string& name, const std::string& help,
                                prometheus::MetricType type, Labels labels) {
    prometheus::MetricFamily& family = families_[name];
    MESH_CHECK(family.name.empty() || family.type == type) << name << " has two types";
    family.name = name;
    family.help = help;
    family.type = type;
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    for (auto& [label, value] : labels) metric.label.push_back({label, std::move(value)});
    return metric;
  }

  std::map<std::string, prometheus::MetricFamily> families_;
};

class Collected : public prometheus::Collectable {
 public:
  explicit Collected(MetricsCollect collect) : collect_(std::move(collect)) {}
  std::vector<prometheus::MetricFamily> Collect() const override {
    std::lock_guard lock(mutex_);
    FamilyWriter writer;
    collect_(writer);
    return writer.Take();
  }

 private:
  const MetricsCollect collect_;
  mutable std::mutex mutex_;
};

// Opens a connection to a listener of this process and closes it again.
void Knock(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const char* name = host.empty() ? nullptr : host.c_str();
  if (::getaddrinfo(name, std::to_string(port).c_str(), &hints, &list) != 0) return;
  const UniqueFd fd(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::connect(fd.get(), list->ai_addr, list->ai_addrlen);
  ::freeaddrinfo(list);
}

class ServerImpl : public MetricsServer {
 public:
  ServerImpl(const std::string& listen, MetricsCollect collect)
      : host_(SplitHostPort(listen).value_or(HostAndPort()).host),
        collected_(std::make_shared<Collected>(std::move(collect))),
        exposer_(std::make_unique<prometheus::Exposer>(listen, kThreads)) {
    exposer_->RegisterCollectable(collected_);
  }
  // The library's thread sees that it is to end when somebody connects, else after two seconds.
  ~ServerImpl() override {
    const int at = port();
    absl::Notification ended;
    std::thread knocking([&] {
      while (!ended.WaitForNotificationWithTimeout(kKnockEvery)) Knock(host_, at);
    });
    exposer_.reset();
    ended.Notify();
    knocking.join();
  }
  int port() const override { return exposer_->GetListeningPorts().at(0); }

 private:
  const std::string host_;
  // Before the exposer, whose threads call it.
  std::shared_ptr<Collected> collected_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace

DurationHistogram::DurationHistogram(std::vector<absl::Duration> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void DurationHistogram::Add(absl::Duration duration) {
  const auto at = std::ranges::lower_bound(bounds_, duration) - bounds_.begin();
  ++counts_[static_cast<size_t>(at)];
  ++count_;
  sum_ += duration;
}

void DurationHistogram::Add(const std::vector<uint64_t>& counts, absl::Duration sum) {
  for (size_t i = 0; i < std::min(counts.size(), counts_.size()); ++i) {
    counts_[i] += counts[i];
    count_ += counts[i];
  }
  sum_ += sum;
}

std::string MetricsText(const MetricsCollect& collect) {
  return prometheus::TextSerializer().Serialize(Collected(collect).Collect());
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    MetricsCollect collect) {
  try {
    return std::unique_ptr<MetricsServer>(new ServerImpl(listen, std::move(collect)));
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(
        fmt::format("cannot serve metrics at {}: the address is taken or not of this machine; give "
                    "another with --metrics-listen, or off ({})",
                    listen, error.what()));
  }
}

}  // namespace mesh
